package corral_test

import "github.com/corral-run/corral"

// containments lacks the keeper: what it makes of a child that gets away by being
// quick is not the same each time.
var containments = []corral.Containment{corral.Group}
