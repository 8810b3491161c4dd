package corral_test

import "github.com/corral-run/corral"

var containments = []corral.Containment{corral.Keeper, corral.Group}
