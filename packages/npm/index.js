'use strict';

const fs = require('fs');
const path = require('path');

// The flags of corral that an option stands for. What takes a value has it in an
// argument of its own.
const values = {
  timeout: '--timeout',
  idleTimeout: '--idle-timeout',
  grace: '--grace',
  stop: '--stop',
  leftovers: '--leftovers',
  keep: '--keep',
  lifeline: '--lifeline',
  containment: '--containment',
  require: '--require',
  memory: '--memory',
  pids: '--pids',
  cpus: '--cpus',
  name: '--name',
  label: '--label',
  report: '--report',
};
const switches = { quiet: '--quiet' };

let found; // where the program is, once it has been looked for

// binary returns the path of corral's program. It is that of the package for this
// system, or what CORRAL_PROGRAM in the environment says.
function binary() {
  if (process.env.CORRAL_PROGRAM) return process.env.CORRAL_PROGRAM;
  if (found) return found;
  const system = `${process.platform}-${process.arch}`;
  const name = `@corral-run/${system}`;
  const { version, optionalDependencies } = require('./package.json');
  if (!optionalDependencies[name]) {
    const all = Object.keys(optionalDependencies).map((n) => n.slice(n.indexOf('/') + 1));
    throw failure('ERR_CORRAL_SYSTEM', `there is no corral for ${system}, only for ${all.join(', ')}; ` +
      'if you have built one, say where it is: CORRAL_PROGRAM=/path/to/corral');
  }
  let manifest;
  try {
    manifest = require.resolve(`${name}/package.json`);
  } catch (cause) {
    throw failure('ERR_CORRAL_MISSING', `the package ${name} is not installed: npm install ${name}@${version}; ` +
      'npm leaves it out with --omit=optional, with --no-optional, and with a node_modules from another system', cause);
  }
  const program = path.join(path.dirname(manifest), 'bin', process.platform === 'win32' ? 'corral.exe' : 'corral');
  try {
    fs.accessSync(program, fs.constants.X_OK);
  } catch (cause) {
    throw failure('ERR_CORRAL_MISSING', `${program} cannot be executed: npm install ${name}@${version}`, cause);
  }
  return (found = program);
}

function failure(code, message, cause) {
  const error = new Error(`corral-run: ${message}`, { cause });
  error.code = code;
  return error;
}

// command returns the file and the arguments that run a command under corral.
//
// Unless the options name other lifelines, the run ends with this process, however
// that ends.
function command(file, args, options) {
  if (args !== undefined && args !== null && !Array.isArray(args)) {
    if (options !== undefined) throw new TypeError(`corral-run: the arguments of ${file} are to be an array`);
    [args, options] = [[], args];
  }
  if (typeof file !== 'string' || file === '') {
    throw new TypeError('corral-run: the command is to be a string, and not empty');
  }
  return [binary(), [...flags(options ?? {}), '--', file, ...(args ?? []).map(String)]];
}

function flags(options) {
  if (typeof options !== 'object') throw new TypeError('corral-run: the options are to be an object');
  const list = [];
  // PID 1 takes all with it when it ends, and is nobody to hang on: the parent of
  // each orphan.
  const lifeline = options.lifeline ?? (process.pid === 1 ? null : 'parent');
  for (const [option, value] of Object.entries({ ...options, lifeline })) {
    if (value === undefined || value === null || value === false) continue;
    if (Object.hasOwn(switches, option)) {
      if (value !== true) throw new TypeError(`corral-run: the option ${option} is true or false, not ${JSON.stringify(value)}`);
      list.push(switches[option]);
    } else if (Object.hasOwn(values, option)) {
      for (const one of Array.isArray(value) ? value : [value]) list.push(...flag(values[option], text(option, one)));
    } else {
      const known = [...Object.keys(values), ...Object.keys(switches)].join(', ');
      throw new TypeError(`corral-run: there is no option ${option}, only ${known}`);
    }
  }
  return list;
}

// flag returns a flag with its value. A value that looks like a flag is one word with it.
function flag(name, value) {
  return value.startsWith('-') ? [`${name}=${value}`] : [name, value];
}

// text returns a value as corral reads it. A number is one of milliseconds where a
// duration is wanted, as everywhere in node.
function text(option, value) {
  if (typeof value === 'string') return value;
  // corral reads no exponents, which numbers from 1e21 have.
  if (typeof value !== 'number' || !/^[\d.]+$/.test(value)) {
    throw new TypeError(`corral-run: the option ${option} is to be a string or a number, not ${JSON.stringify(value)}`);
  }
  return ['timeout', 'idleTimeout', 'grace'].includes(option) ? `${value}ms` : String(value);
}

module.exports = { binary, command };
