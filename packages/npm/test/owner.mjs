// Starts a command as its first argument says, and waits for as long as that lives.
// What the command writes is what this writes.
import { spawn } from 'node:child_process';
import { command } from 'corral-run';

const [how, ...argv] = process.argv.slice(2);
const started = {
  plain: () => spawn(argv[0], argv.slice(1), { stdio: ['ignore', 'inherit', 'inherit'] }),
  corral: () => spawn(...command(argv[0], argv.slice(1), { grace: 200 }), { stdio: ['ignore', 'inherit', 'inherit'] }),
  execa: async () => (await import('execa')).execa(...command(argv[0], argv.slice(1), { grace: 200 }), { stdin: 'ignore', stdout: 'inherit', stderr: 'inherit', reject: false }),
};
await started[how]();
