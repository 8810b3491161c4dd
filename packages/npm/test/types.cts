import corral = require('corral-run');

const [file, args]: [string, string[]] = corral.command('npm', ['test']);
corral.command(file, args);
