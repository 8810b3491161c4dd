// tree-kill: on a stop it looks for the children of the children, and signals each. It
// kills what it finds after the grace.
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';

const [modules, file, ...args] = process.argv.slice(2);
const treeKill = createRequire(import.meta.url)(`${modules}/tree-kill`);
let stopping = false;
let child;
process.on('SIGTERM', () => {
  stopping = true;
  treeKill(child.pid, 'SIGTERM', () => {
    setTimeout(() => treeKill(child.pid, 'SIGKILL', () => process.exit(143)), 300);
  });
});
child = spawn(file, args, { stdio: ['ignore', 'inherit', 'inherit', 3, 4, 5] });
child.on('exit', (code) => {
  if (!stopping) process.exit(code ?? 1);
});
