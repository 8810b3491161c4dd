// Package errjoin joins errors on one line.
package errjoin

import "strings"

// Join returns the errors that are not nil as one. If there is only one, it returns
// that itself.
func Join(errs ...error) error {
	j := new(joined)
	for _, err := range errs {
		if err != nil {
			j.errs = append(j.errs, err)
		}
	}
	switch len(j.errs) {
	case 0:
		return nil
	case 1:
		return j.errs[0]
	}
	return j
}

// joined is errors.Join on one line.
type joined struct{ errs []error }

func (j *joined) Error() string {
	var text []string
	for _, err := range j.errs {
		text = append(text, err.Error())
	}
	return strings.Join(text, "; ")
}

func (j *joined) Unwrap() []error { return j.errs }
