// Asks for the program where there is none, on a system that may be another one, and
// says what it is told.
import { command } from 'corral-run';

if (process.argv[2]) Object.defineProperty(process, 'platform', { value: process.argv[2] });
try {
  console.log(JSON.stringify({ command: command('true') }));
} catch (error) {
  console.log(JSON.stringify({ code: error.code, message: error.message }));
}
