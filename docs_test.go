//go:build linux || darwin || freebsd

package corral_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/corral-run/corral/internal/diff"
)

// TestDocs: pages keep to the rules for words in CONTRIBUTING.md. Links lead somewhere,
// and a test that is named exists. Nobody writes what the first readers could not read.
func TestDocs(t *testing.T) {
	tree := repository(t)
	files := textFiles(t, tree)
	tests := testNames(files)
	for path, text := range files {
		problems := hardPhrases(text)
		if filepath.Ext(path) == ".md" {
			problems = append(problems, brokenLinks(tree, path, text)...)
			if path != "CHANGELOG.md" { // it speaks of what was
				problems = append(problems, missingTests(tests, text)...)
				problems = append(problems, longSentences(text)...)
			}
		}
		for _, p := range problems {
			t.Errorf("%s: %s", path, p)
		}
	}
}

// repository is what this module is a part of. Who imports the module does not have the
// rest, nor has the virtual machine of .ci/microvm.
func repository(t *testing.T) fs.FS {
	t.Helper()
	tree := os.DirFS(".")
	if _, err := fs.Stat(tree, "cmd/corral/go.mod"); err != nil {
		t.Skip("SKIPPED: needs all modules of the repository: ", err)
	}
	return tree
}

// TestDocsRules: what TestDocs looks for, it finds, and nothing else.
func TestDocsRules(t *testing.T) {
	thirty := strings.TrimSpace(strings.Repeat("word ", 30))
	tree := os.DirFS("testdata/docs")
	page, err := fs.ReadFile(tree, "page.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ got, want []string }{
		"thirty words":        {longSentences(thirty + ". " + thirty + "?\n"), nil},
		"one more":            {longSentences("Short.\n" + thirty + "\nmore. Short."), []string{"31 words: word word word word word word …"}},
		"in a list":           {longSentences("- " + thirty + "\n- " + thirty + "\n  more\n"), []string{"31 words: word word word word word word …"}},
		"code is a word":      {longSentences("The `flag that has words` " + strings.TrimPrefix(thirty, "word word ") + "."), nil},
		"links count by text": {longSentences("[" + thirty + "](a/b c.md)."), nil},
		"code, html":          {longSentences("```\n" + thirty + " more\n```\n\n    " + thirty + " more\n\n<!-- " + thirty + " more -->\n"), nil},
		"tables":              {longSentences("| " + thirty + " | " + thirty + ": more |\n|" + thirty + " more |\n"), []string{"31 words: word word word word word word …"}},
		"heading":             {longSentences("# " + thirty + "\n\nmore"), nil},
		"phrases": {hardPhrases("// It is stopped with what it\n//\thangs on, Without a\n// wish."),
			[]string{`hard to read: "what it hangs on"`, `hard to read: "without a wish"`}},
		"links": {brokenLinks(tree, "page.md", string(page)), []string{
			"no such file: gone.md", "no such file: ../docs", "no such heading: page.md#nowhere", "no such heading: #gone"}},
		"tests": {missingTests(map[string]bool{"TestDocs": true}, "`TestDocs`, TestGone and `TestGone/sub`, Testing, `TestMain`"), []string{"no such test: TestGone"}},
	} {
		if diff := diff.Of(tt.want, tt.got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

// TestReadmeSurvivors: the short table in README.md says what the long one says.
func TestReadmeSurvivors(t *testing.T) {
	const heading = "| the command ends | it is stopped | SIGKILL |"
	short, long := tableBelow(t, "README.md", heading), tableBelow(t, "docs/survivors.md", heading)
	for _, row := range short {
		if !slices.Contains(long, row) {
			t.Errorf("docs/survivors.md does not say %q", row)
		}
	}
}

// TestReadmeAnswers: what README.md says to paste is near the beginning of the page, or
// of the section, that it names for more.
func TestReadmeAnswers(t *testing.T) {
	tree := repository(t)
	for _, row := range tableBelow(t, "README.md", "| your problem | paste this | more |")[1:] {
		paste := inlineCode.FindString(strings.Split(row, " | ")[1])
		link := mdLink.FindStringSubmatch(row)
		if paste == "" || link == nil {
			t.Errorf("README.md: no line to paste, or no page: %s", row)
			continue
		}
		path, anchor, _ := strings.Cut(link[2], "#")
		page, err := fs.ReadFile(tree, path)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.SplitAfter(string(page), "\n")
		if i := slices.IndexFunc(lines, func(l string) bool {
			return anchor != "" && strings.HasPrefix(l, "#") && slices.Contains(anchors(l), anchor)
		}); i >= 0 {
			lines = lines[i:]
		}
		begin := withoutSpace(strings.Join(lines[:min(40, len(lines))], ""))
		for piece := range strings.SplitSeq(strings.Trim(paste, "`"), "…") { // a part is left out
			if !strings.Contains(begin, withoutSpace(strings.TrimRight(piece, " ]"))) {
				t.Errorf("%s does not begin with what README.md says to paste: %s", link[2], paste)
			}
		}
	}
}

func withoutSpace(text string) string { return strings.Join(strings.Fields(text), "") }

// tableBelow returns the rows of the table whose heading ends so.
func tableBelow(t *testing.T, path, heading string) (rows []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, below, found := strings.Cut(string(text), heading+"\n")
	for line := range strings.Lines(below) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		rows = append(rows, strings.TrimSpace(line))
	}
	if !found || len(rows) < 3 {
		t.Fatalf("%s has no table below %q", path, heading)
	}
	return rows
}

// textFiles returns what people read: pages, code with its comments, scripts of tests.
func textFiles(t *testing.T, tree fs.FS) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := fs.WalkDir(tree, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".git" || d.Name() == "node_modules" || path == "testdata/docs" {
				return fs.SkipDir
			}
			return nil
		}
		if !slices.Contains([]string{".md", ".go", ".txtar", ".json"}, filepath.Ext(path)) || path == "docs_test.go" {
			return nil
		}
		b, err := fs.ReadFile(tree, path)
		files[filepath.ToSlash(path)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Words in a sentence, at most.
const longest = 30

var (
	fenced     = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	htmlNote   = regexp.MustCompile(`(?s)<!--.*?-->`)
	inlineCode = regexp.MustCompile("`[^`]+`")
	mdLink     = regexp.MustCompile(`!?\[([^\]]*)\]\(([^)]*)\)`)
	startsItem = regexp.MustCompile(`^\s*([-*]|\d+\.) `)
	sentence   = regexp.MustCompile(`[.!?]["')*_]*(\s|$)`)
	cellPart   = regexp.MustCompile(`[.!?:;]["')*_]*(\s|$)`)
)

// longSentences returns a line for each sentence of a page that is too long. Code in a
// sentence is one word. In a cell of a table a colon or a semicolon ends a sentence, too.
func longSentences(page string) []string {
	page = htmlNote.ReplaceAllString(fenced.ReplaceAllString(page, ""), "")
	page = mdLink.ReplaceAllString(inlineCode.ReplaceAllString(page, "`code`"), "$1")
	var problems []string
	var paragraph []string
	look := func(text string, sentence *regexp.Regexp) {
		for _, s := range sentence.Split(text, -1) {
			words := strings.FieldsFunc(s, unicode.IsSpace)
			words = slices.DeleteFunc(words, func(w string) bool { return !strings.ContainsFunc(w, isWordy) })
			if len(words) > longest {
				problems = append(problems, fmt.Sprintf("%d words: %s …", len(words), strings.Join(words[:6], " ")))
			}
		}
	}
	end := func() {
		look(strings.Join(paragraph, " "), sentence)
		paragraph = nil
	}
	inList := false
	for line := range strings.Lines(page) {
		text := strings.TrimSpace(line)
		item := startsItem.MatchString(line)
		switch {
		case text == "", strings.HasPrefix(text, "#"), strings.HasPrefix(text, "|"):
			end()
			for _, cell := range strings.Split(text, "|")[1:] {
				look(cell, cellPart)
			}
			inList = inList && text == ""
			continue
		case item:
			end()
			inList = true
		case strings.HasPrefix(line, "    ") && len(paragraph) == 0 && (!inList || strings.HasPrefix(line, "      ")):
			continue // code
		}
		inList = inList && (item || line[0] == ' ' || len(paragraph) > 0)
		paragraph = append(paragraph, startsItem.ReplaceAllString(text, ""))
	}
	end()
	return problems
}

func isWordy(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// What the first readers stumbled over, in lower case.
var hard = []string{
	"what of it", "who holds a pipe for longer", "is waited for as long as", "what it hangs on", "not to be had",
	"without a wish", "gets both kinds all the same", "members that corral had looked at", "that are none",
	"where nothing of a system is", "that goes for", "input is typed on", "what is to run it", "a name that is none",
	"not to be seen", "whosever", "in the place of", "known to those only", "what of a run", "| so is that |", "| likewise", ". likewise |",
}

// hardPhrases finds them also where a comment goes on in the next line.
func hardPhrases(text string) []string {
	var words []string
	for line := range strings.Lines(strings.ToLower(text)) {
		words = append(words, strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "//"))...)
	}
	text = strings.Join(words, " ")
	var problems []string
	for _, phrase := range hard {
		if strings.Contains(text, phrase) {
			problems = append(problems, fmt.Sprintf("hard to read: %q", phrase))
		}
	}
	return problems
}

// brokenLinks returns a line for each link of a page, to a file or a heading, that
// leads nowhere.
func brokenLinks(tree fs.FS, path, page string) []string {
	var problems []string
	for _, m := range mdLink.FindAllStringSubmatch(inlineCode.ReplaceAllString(fenced.ReplaceAllString(page, ""), ""), -1) {
		file, anchor, _ := strings.Cut(m[2], "#")
		if strings.Contains(file, "://") || strings.HasPrefix(file, "mailto:") {
			continue
		}
		target := path
		if file != "" {
			target = filepath.ToSlash(filepath.Join(filepath.Dir(path), file))
		}
		if _, err := fs.Stat(tree, target); err != nil {
			problems = append(problems, "no such file: "+file)
			continue
		}
		if anchor == "" {
			continue
		}
		if b, err := fs.ReadFile(tree, target); err != nil || !slices.Contains(anchors(string(b)), anchor) {
			problems = append(problems, "no such heading: "+m[2])
		}
	}
	return problems
}

var heading = regexp.MustCompile(`(?m)^#+ +(.*?)\s*$`)

// anchors returns the names that GitHub gives the headings of a page.
func anchors(page string) []string {
	seen := make(map[string]int)
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(page, ""), -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case isWordy(r) || r == '-' || r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, mdLink.ReplaceAllString(m[1], "$1"))
		n := seen[name]
		seen[name]++
		if n > 0 {
			seen[fmt.Sprintf("%s-%d", name, n)]++
		}
	}
	return slices.Collect(maps.Keys(seen))
}

var (
	testName = regexp.MustCompile(`\bTest[A-Z]\w*`)
	testFunc = regexp.MustCompile(`(?m)^func (Test[A-Z]\w*)\(`)
)

// testNames returns the tests of all modules.
func testNames(files map[string]string) map[string]bool {
	names := make(map[string]bool)
	for path, text := range files {
		if strings.HasSuffix(path, "_test.go") {
			for _, m := range testFunc.FindAllStringSubmatch(text, -1) {
				names[m[1]] = true
			}
		}
	}
	return names
}

// missingTests returns a line for each test that a page names in its text and that is
// not there. What is in a block of code is the page's own.
func missingTests(tests map[string]bool, page string) []string {
	names := testName.FindAllString(fenced.ReplaceAllString(page, ""), -1)
	slices.Sort(names)
	var problems []string
	for _, name := range slices.Compact(names) {
		if !tests[name] && name != "TestMain" {
			problems = append(problems, "no such test: "+name)
		}
	}
	return problems
}
