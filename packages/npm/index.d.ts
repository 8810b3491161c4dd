/** What a run is told. Each option is the flag of corral with the same name. */
export interface CommandOptions {
  /** Stop the run after this time: milliseconds, or a string such as `"5m"`. */
  timeout?: number | string;
  /** Stop the run when it has written nothing for this time. */
  idleTimeout?: number | string;
  /** The time between SIGTERM and SIGKILL: milliseconds, or a string. Five seconds by default. */
  grace?: number | string;
  /** The steps of a stop, such as `"stdin:2s,TERM:5s"`. Not together with `grace`. */
  stop?: string;
  /** What happens to what the command leaves: `"kill"` by default. */
  leftovers?: 'kill' | 'keep' | 'fail' | 'wait' | 'detach';
  /** Daemons that may stay: globs of file names, or `"daemons"`. */
  keep?: string | string[];
  /**
   * With what the run ends: `"parent"`, this process, by default. `"stdin"` if the
   * command has a pipe as its input. `false` for nothing.
   */
  lifeline?: string | string[] | false;
  /** The containment that is wanted. */
  containment?: string;
  /** The weakest containment that will do. */
  require?: string;
  /** How much memory all processes of the run may have together, such as `"512M"`. */
  memory?: number | string;
  /** How many processes and threads the run may have. */
  pids?: number;
  /** How many processors the run may use, such as `1.5`. */
  cpus?: number;
  /** The name of the run in `corral ps`. */
  name?: string;
  /** Labels of the run, as `"key=value"`. */
  label?: string | string[];
  /** A file for the report, in JSON. */
  report?: string;
  /** Say nothing about leftovers. */
  quiet?: boolean;
}

/**
 * Returns the file and the arguments that run a command under corral, for all that
 * start one:
 *
 *     spawn(...command('npm', ['test']), { stdio: 'inherit' })
 *     await execa(...command('npm', ['test'], { timeout: '5m' }))
 *
 * Nothing that the command starts is left when it ends, and nothing is left when
 * this process ends, also by SIGKILL. Not for `shell: true`: `command('sh', ['-c', line])`.
 *
 * @throws {Error} with the code `ERR_CORRAL_MISSING` or `ERR_CORRAL_SYSTEM` if there is no program for this system
 * @throws {TypeError} if an option is none
 */
export function command(file: string, args?: readonly string[] | null, options?: CommandOptions): [file: string, args: string[]];
export function command(file: string, options: CommandOptions): [file: string, args: string[]];

/** Returns the path of corral's program. */
export function binary(): string;
