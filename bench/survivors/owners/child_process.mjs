// Node's child_process, as it is used to reach a tree: a process group of its own, and
// kill(-pid). A stop asks first, and kills the group after the grace.
import { spawn } from 'node:child_process';

const [file, ...args] = process.argv.slice(2);
let stopping = false;
let child;
const kill = (signal) => {
  try {
    process.kill(-child.pid, signal);
  } catch {
    // Nobody is left in the group.
  }
};
process.on('SIGTERM', () => {
  stopping = true;
  kill('SIGTERM');
  setTimeout(() => {
    kill('SIGKILL');
    process.exit(143);
  }, 300);
});
child = spawn(file, args, { detached: true, stdio: ['ignore', 'inherit', 'inherit', 3, 4, 5] });
child.on('exit', (code) => {
  if (!stopping) process.exit(code ?? 1);
});
