package harness

import (
	"regexp"
	"strings"
)

var placeholders = map[string]string{
	"{n}": `-?\d+`,                            // a number
	"{x}": `[0-9a-f]+`,                        // an id in hex
	"{t}": `[0-9.]+(ns|µs|ms|s)`,              // a duration
	"{v}": `3\.7\.\d+`,                        // a version
	"{s}": `[0-9.]+ (B|kB|MB|GB)`,             // a size
	"{*}": `.*`,                               // anything on the line
	"{u}": `http://[0-9a-z.]+:\d+`,            // a URL
	"{e}": `(127\.0\.0\.1|localhost):\d+`,     // an endpoint
	"{b}": `[A-Za-z0-9+/=]*`,                  // base64
	"{_}": `\s*`,                              // space, or none
	"{d}": `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d.*`, // a time
}

// Matches says whether the whole text is as the pattern, in which {n} stands
// for a number, {x} for a hex id, and so on.
func Matches(pattern, text string) bool {
	quoted := regexp.QuoteMeta(pattern)
	for name, expression := range placeholders {
		quoted = strings.ReplaceAll(quoted, regexp.QuoteMeta(name), expression)
	}
	return regexp.MustCompile(`\A` + quoted + `\z`).MatchString(text)
}
