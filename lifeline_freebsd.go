package corral

const hangUpEvents = 0

// errTTY is why a terminal does not tell that it has been hung up: it does.
var errTTY error
