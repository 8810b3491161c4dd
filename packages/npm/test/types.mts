// The compiler accepts what README.md shows, and no option that there is not.
import { execFile, spawn, spawnSync } from 'node:child_process';
import { binary, command, type CommandOptions } from 'corral-run';

const options: CommandOptions = { timeout: '5m', leftovers: 'fail', keep: ['ssh'] };
spawn(...command('npm', ['test'], options), { stdio: 'inherit' }).on('exit', (code: number | null) => code);
spawnSync(...command('npm', ['test']));
execFile(...command('npm', { grace: 5 }), () => {});
for (const leftovers of ['kill', 'keep', 'fail', 'wait', 'detach'] as const) command('npm', { leftovers });
const path: string = binary();
// @ts-expect-error
command(path, { nonsense: 1 });
