// execa, with what it has against leftovers: cleanup, and a kill after the grace.
import { pathToFileURL } from 'node:url';

const [modules, file, ...args] = process.argv.slice(2);
const { execa } = await import(pathToFileURL(`${modules}/execa/index.js`));
let child;
process.on('SIGTERM', () => child.kill('SIGTERM'));
child = execa(file, args, {
  cleanup: true,
  forceKillAfterDelay: 300,
  reject: false,
  stdio: ['ignore', 'inherit', 'inherit', 3, 4, 5],
});
const { exitCode } = await child;
process.exit(exitCode ?? 1);
