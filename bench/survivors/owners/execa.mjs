// execa, with what it has against leftovers: cleanup, a kill after the grace, and, from
// version 10 on, killDescendants. Older versions know no such option. When the command
// has ended, nobody kills what is left of it: so that is asked for, as its docs say.
import { pathToFileURL } from 'node:url';

const [modules, file, ...args] = process.argv.slice(2);
const { execa } = await import(pathToFileURL(`${modules}/execa/index.js`));
let stopping = false;
let child;
process.on('SIGTERM', () => {
  stopping = true;
  child.kill('SIGTERM');
  setTimeout(() => {
    child.kill('SIGKILL');
    process.exit(143);
  }, 300);
});
child = execa(file, args, {
  cleanup: true,
  forceKillAfterDelay: 300,
  killDescendants: true,
  reject: false,
  stdio: ['ignore', 'inherit', 'inherit', 3, 4, 5],
});
const { exitCode } = await child;
if (!stopping) process.exit(exitCode ?? 1);
