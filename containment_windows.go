package corral

import (
	"github.com/corral-run/corral/internal/hold/job"
	_ "github.com/corral-run/corral/internal/roles/console"
)

var ladder = []mechanism{{Job, job.Open}}
