#!/usr/bin/env node
'use strict';

// npm links to this file. It runs the program of the package for this system, which
// ends with it, and ends as that does.

const { spawn } = require('child_process');
const { constants } = require('os');
const { binary } = require('../index.js');

function run() {
  // The variable is a flag of runs, and of no other command of corral's. The program
  // takes it out of the environment of what it runs.
  const env = process.pid === 1 ? process.env : { CORRAL_LIFELINE: 'parent', ...process.env };
  const child = spawn(binary(), process.argv.slice(2), { stdio: 'inherit', env });
  child.on('error', (error) => fail(error.message));
  // What a key of the terminal sends has reached the program as well: a second one
  // would be the second Ctrl-C. It is only not to end this one. The rest is passed on.
  const typed = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY;
  for (const signal of ['SIGINT', 'SIGQUIT']) listen(signal, () => typed || child.kill(signal));
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGUSR2']) listen(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => {
    if (signal) {
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
      process.exitCode = 128 + constants.signals[signal]; // if it is ignored
      return;
    }
    process.exit(code);
  });
}

function listen(signal, does) {
  try {
    process.on(signal, does);
  } catch {
    // There is no such signal on this system.
  }
}

function fail(message) {
  console.error(`corral: ${message}`);
  process.exit(125);
}

try {
  run();
} catch (error) {
  fail(error.message.replace(/^corral-run: /, ''));
}
