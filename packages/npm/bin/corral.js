#!/usr/bin/env node
'use strict';

// npm links to this file. It runs the program of the package for this system, which
// ends with it, and ends as that does.

const { spawn } = require('child_process');
const { constants } = require('os');
const tty = require('tty');
const { binary } = require('../index.js');

function run() {
  const args = process.argv.slice(2);
  // The variable is a flag of runs: the program takes it out of the environment of what
  // it runs. These two would hand it on. They have variables of their own.
  const free = process.pid === 1 || args[0] === 'timeout' || args[0] === 'init';
  const env = free ? process.env : { CORRAL_LIFELINE: 'parent', ...process.env };
  const child = spawn(binary(), args, { stdio: 'inherit', env });
  child.on('error', (error) => fail(error.message));
  // On Windows a signal is an event of the console, which the program has had as well,
  // and child.kill would end it at once.
  const windows = process.platform === 'win32';
  // What a key of the terminal sends has reached the program as well: a second one
  // would be the second Ctrl-C. It is only not to end this one. The rest is passed on.
  // Who asks process.stdin and its like has node open them, and a pipe, which is the
  // command's too, does not block from then on.
  const typed = [0, 1, 2].some((fd) => tty.isatty(fd));
  for (const signal of ['SIGINT', 'SIGQUIT']) listen(signal, () => typed || windows || child.kill(signal));
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGBREAK']) listen(signal, () => windows || child.kill(signal));
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
