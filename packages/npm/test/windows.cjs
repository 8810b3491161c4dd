// Makes node say that this is Windows, and that it has got SIGINT.
Object.defineProperty(process, 'platform', { value: 'win32' });
process.on('SIGINT', () => process.stderr.write('SIGINT\n'));
