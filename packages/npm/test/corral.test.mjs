// What has been installed does what its README says. Nothing here judges by time that
// has passed: a FIFO has no reader, or a pipe no writer, when nobody is left.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { binary, command } from 'corral-run';

const require = createRequire(import.meta.url);
const { version } = require('corral-run/package.json');
const system = `${process.platform}-${process.arch}`;
const shim = path.resolve('node_modules/.bin/corral');

const hasExeca = await import('execa').then(() => true, () => false);

test('the program is that of the package for this system', () => {
  assert.match(binary(), new RegExp(`@corral-run/${system}/bin/corral`));
  const said = execFileSync(binary(), ['version'], { encoding: 'utf8' });
  assert.ok(said.startsWith(`corral v${version} (`), said);
  assert.deepEqual(require('corral-run').command('true'), command('true'));
});

test('options are flags', () => {
  const flags = (options) => command('npm', ['test'], options)[1].slice(0, -3).join(' ');
  assert.deepEqual(command('npm', ['test', 7]), [binary(), ['--lifeline', 'parent', '--', 'npm', 'test', '7']]);
  assert.deepEqual(command('npm', { quiet: true })[1], ['--quiet', '--lifeline', 'parent', '--', 'npm']);
  assert.equal(flags({ timeout: 1500, grace: '2s', lifeline: false }), '--timeout 1500ms --grace 2s');
  assert.equal(flags({ lifeline: ['stdin', 'parent'] }), '--lifeline stdin --lifeline parent');
  assert.equal(flags({ lifeline: undefined, name: undefined }), '--lifeline parent');
  assert.equal(flags({ memory: '1G', pids: 10, cpus: 1.5, lifeline: null }), '--memory 1G --pids 10 --cpus 1.5 --lifeline parent');
  assert.equal(flags({ name: '-n', report: '-', lifeline: false }), '--name=-n --report=-');
  assert.equal(flags({ quiet: false, label: ['a=b', 'c'] }), '--label a=b --label c --lifeline parent');
  for (const bad of [
    () => command(''), () => command(['npm', 'test']), () => command('npm', 'test', {}), () => command('npm', [], { timout: 5 }),
    () => command('npm', [], { timeout: NaN }), () => command('npm', [], { timeout: {} }),
    () => command('npm', [], { timeout: 1e21 }), () => command('npm', [], { timeout: -1 }), () => command('npm', [], { timeout: Infinity }), () => command('npm', [], { quiet: 'yes' }),
    () => command('npm', 'test'), () => command('npm', [], { toString: '1' }),
  ]) assert.throws(bad, TypeError, bad.toString());
});

// Each option is a flag that the program has.
test('the program takes all options', () => {
  const all = { timeout: 60000, idleTimeout: 60000, grace: 100, leftovers: 'kill', name: 'n', label: 'a=b', report: 'report.json', quiet: true, require: 'group', containment: 'auto' };
  const [file, args] = command('sh', ['-c', 'exit 3'], all);
  assert.equal(spawnSync(file, args, { stdio: 'inherit' }).status, 3);
  assert.equal(JSON.parse(fs.readFileSync('report.json')).exit_code, 3);
  assert.equal(spawnSync(...command('true', { stop: 'TERM:1s' })).status, 0);
});

test('time runs out, and what is stubborn is killed', () => {
  // The time is long, as the shell is to have its trap by then.
  const { status, stderr } = spawnSync(...command('sh', ['-c', 'trap "" TERM; sleep 59 & wait; wait'], { timeout: 10000, grace: 100 }));
  assert.equal(status, 137, String(stderr));
  assert.match(String(stderr), /^corral: timed out after 10s and had to be killed/);
});

// stubborn returns a command that says "up" and waits for a grandchild: that one is in
// a session of its own, ignores SIGTERM, and copies what is written to a FIFO.
async function stubborn(t, file, ...args) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'corral'));
  const fifo = path.join(dir, 'fifo');
  execFileSync('mkfifo', [fifo]);
  const owner = spawn(file, [...args, 'sh', '-c', `trap "" TERM HUP INT; setsid cat ${fifo} & wait`], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(owner, 'exit');
  const line = fs.createWriteStream(fifo); // which opens when cat has opened it
  line.on('error', () => {}); // if nobody reads it
  t.after(async () => {
    line.destroy(); // by which cat ends, whatever else went wrong
    owner.kill('SIGKILL');
    await ended;
    // If no cat has come, the open is still waiting, and node would wait for that.
    fs.closeSync(fs.openSync(fifo, fs.constants.O_RDWR));
    fs.rmSync(dir, { recursive: true });
  });
  const early = ended.then((how) => { throw new Error(`it has ended: ${how}`); });
  await Promise.race([once(line, 'open'), early]);
  early.catch(() => {}); // later it is no fault
  // A tree that says what it is told is alive.
  line.write('alive\n');
  assert.equal(String((await once(owner.stdout, 'data'))[0]), 'alive\n');
  return { owner, ended, line };
}

test('control: without corral, the grandchild outlives a node that gets SIGKILL', async (t) => {
  const { owner, ended, line } = await stubborn(t, process.execPath, 'owner.mjs', 'plain');
  owner.kill('SIGKILL');
  await ended;
  line.write('still alive\n');
  assert.equal(String((await once(owner.stdout, 'data'))[0]), 'still alive\n');
});

for (const how of ['corral', 'execa']) {
  test(`${how}: nothing is left of a node that gets SIGKILL`, { skip: how === 'execa' && !hasExeca && 'SKIPPED: execa is not to be had' }, async (t) => {
    const { owner, ended } = await stubborn(t, process.execPath, 'owner.mjs', how);
    const closed = once(owner.stdout, 'close'); // nobody has it open any more
    owner.stdout.resume();
    owner.kill('SIGKILL');
    assert.deepEqual(await ended, [null, 'SIGKILL']);
    await closed;
  });
}

for (const signal of ['SIGTERM', 'SIGKILL']) {
  test(`the command of the package gets ${signal}`, async (t) => {
    const { owner, ended } = await stubborn(t, shim, '--grace', '200ms', '--');
    const closed = once(owner.stdout, 'close');
    owner.stdout.resume();
    owner.kill(signal);
    const [code, by] = await ended;
    if (signal === 'SIGKILL') assert.equal(by, 'SIGKILL');
    else assert.equal(code, 137); // what had to be killed
    await closed;
  });
}

test('the command of the package', () => {
  const run = (...args) => spawnSync(shim, args, { encoding: 'utf8' });
  assert.equal(run('--', 'sh', '-c', 'exit 3').status, 3);
  assert.equal(run('--version').stdout, execFileSync(binary(), ['version'], { encoding: 'utf8' }));
  assert.equal(run('--frob').status, 125);
  assert.equal(run('--', 'sh', '-c', 'kill -9 $$').status, 137);
  assert.equal(run('--', 'sh', '-c', 'echo "<$CORRAL_LIFELINE>"').stdout, '<>\n');
  const missing = spawnSync(shim, ['--', 'true'], { encoding: 'utf8', env: { ...process.env, CORRAL_PROGRAM: '/does/not/exist' } });
  assert.equal(missing.status, 125);
  assert.match(missing.stderr, /^corral: .*\/does\/not\/exist.*\n$/);
});

// A flag of the shim's is not to be in the way of what runs are not for, and nobody but
// the program gets it.
test('the commands of the program, by way of the package', () => {
  const state = fs.mkdtempSync(path.join(os.tmpdir(), 'corral'));
  const env = { ...process.env, XDG_STATE_HOME: state };
  const run = (...args) => spawnSync(shim, args, { encoding: 'utf8', env });
  try {
    for (const how of [['timeout', '59'], ['init', '--'], ['--'], ['run', '--'], ['-c']]) {
      const line = 'echo "<$CORRAL_LIFELINE>"';
      const { status, stdout, stderr } = run(...how, ...(how[0] === '-c' ? [] : ['sh', '-c']), line);
      assert.equal(stdout, '<>\n', `${how}: ${status}, ${stderr}`);
    }
    const { status, stdout: id, stderr } = run('run', '--detach', '--', 'sh', '-c', 'exit 5');
    assert.equal(status, 0, stderr);
    assert.equal(run('wait', id.trim()).status, 5);
  } finally {
    fs.rmSync(state, { recursive: true });
  }
});

test('a command that cannot be started', () => {
  for (const [file, status] of [['no-such-command', 127], [os.tmpdir(), 126]]) {
    const said = spawnSync(...command(file), { encoding: 'utf8' });
    assert.equal(said.error, undefined);
    assert.equal(said.status, status, said.stderr);
    assert.match(said.stderr, /^corral: .*\n$/);
  }
});

// The command has the pipes of the shim. They are to block, as it expects.
test('the pipes of the command of the package', async (t) => {
  const child = spawn(shim, ['--', 'sh', '-c', 'echo up; cat; cat /dev/zero | head -c 1000000'], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  const ended = once(child, 'close');
  await once(child.stdout, 'readable'); // cat has nothing to read yet, or soon has not
  assert.equal(String(child.stdout.read()), 'up\n');
  assert.equal(await Promise.race([ended, new Promise((r) => setTimeout(r, 300, 'waits'))]), 'waits');
  child.stdin.end('late\n');
  await new Promise((r) => setTimeout(r, 300)); // the output is full by then
  let size = 0;
  child.stdout.on('data', (data) => { size += data.length; });
  assert.deepEqual(await ended, [0, null]);
  assert.equal(size, 'late\n'.length + 1000000);
});

// up starts the shim with a command that answers a signal, and returns it when it does.
async function up(t, signal, env) {
  const line = `trap "exit 6" ${signal}; echo up; read line; exit 7`;
  const child = spawn(shim, ['--', 'sh', '-c', line], { stdio: 'pipe', env: { ...process.env, ...env } });
  t.after(() => child.kill('SIGKILL'));
  assert.equal(String((await once(child.stdout, 'data'))[0]), 'up\n');
  return child;
}

for (const signal of ['SIGINT', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2']) {
  test(`the command of the package passes ${signal} on`, async (t) => {
    const child = await up(t, signal.slice(3));
    child.kill(signal);
    assert.deepEqual(await once(child, 'exit'), [6, null]);
  });
}

test('on Windows, the command of the package leaves the signals to the console', async (t) => {
  const preload = path.resolve('windows.cjs');
  const child = await up(t, 'INT', { NODE_OPTIONS: `--require ${preload}`, CORRAL_PROGRAM: binary() });
  child.kill('SIGINT');
  assert.equal(String((await once(child.stderr, 'data'))[0]), 'SIGINT\n');
  child.stdin.end('\n');
  assert.deepEqual(await once(child, 'exit'), [7, null]);
});

test('no program for this system', () => {
  const ask = (dir, ...args) => JSON.parse(execFileSync(process.execPath, [dir, ...args], { encoding: 'utf8' }));
  assert.deepEqual(ask('missing.mjs').command.slice(1), [['--lifeline', 'parent', '--', 'true']]);
  const { code, message } = ask(process.env.ALONE);
  assert.equal(code, 'ERR_CORRAL_MISSING');
  assert.ok(message.includes(`npm install @corral-run/${system}@${version}`), message);
  const other = ask('missing.mjs', 'sunos');
  assert.equal(other.code, 'ERR_CORRAL_SYSTEM');
  assert.match(other.message, /no corral for sunos-.*only for .*linux-x64.*CORRAL_PROGRAM=/);
});
