package corral

const hangUpEvents = 0

var ttyTellsHangUp error
