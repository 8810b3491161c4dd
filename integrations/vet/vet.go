// Package vet finds, in programs that run commands, the few idioms of os/exec that
// are different with Corral: docs/migrate.md has the list.
package vet

import (
	"go/ast"
	"go/token"
	"go/types"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/types/typeutil"
)

const doc = `find idioms of os/exec that are different with Corral

For a corral.Cmd, and with -osexec also for an exec.Cmd, it reports Process.Wait,
Process.Release, and a kill of the process group -cmd.Process.Pid. For the error of a
corral.Cmd with Timeout, IdleTimeout, Lifelines or FailOnLeftovers, which may be a
joined one, it reports a type assertion to *ExitError and a comparison with an error of
package context.`

// Analyzer reports these idioms.
var Analyzer = &analysis.Analyzer{
	Name: "corral",
	Doc:  doc,
	URL:  "https://github.com/corral-run/corral/blob/main/docs/migrate.md",
	Run:  run,
}

var osexec bool

func init() {
	Analyzer.Flags.BoolVar(&osexec, "osexec", false, "look at exec.Cmd as well, before the import is changed")
}

const library = "github.com/corral-run/corral"

func run(pass *analysis.Pass) (any, error) {
	for _, file := range pass.Files {
		for _, decl := range file.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Body != nil {
				f := function{pass, fn.Body}
				ast.Inspect(fn.Body, f.visit)
			}
		}
	}
	return nil, nil
}

// function is one function, closures included. The analyzer follows a value through
// its variables, and not into other functions.
type function struct {
	*analysis.Pass
	body *ast.BlockStmt
}

func (f function) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.CallExpr:
		f.call(n)
	case *ast.TypeAssertExpr:
		if n.Type != nil && f.isExitError(n.Type) && f.mayBeJoined(n.X) {
			f.Reportf(n.Pos(), "this error may be a joined one, as Timeout, IdleTimeout, Lifelines or FailOnLeftovers is set: use errors.As")
		}
	case *ast.TypeSwitchStmt:
		f.typeSwitch(n)
	case *ast.BinaryExpr:
		if n.Op == token.EQL || n.Op == token.NEQ {
			f.compared(n.X, n.Y)
			f.compared(n.Y, n.X)
		}
	case *ast.SwitchStmt:
		for _, clause := range n.Body.List {
			for _, value := range clause.(*ast.CaseClause).List {
				f.compared(n.Tag, value)
			}
		}
	}
	return true
}

func (f function) call(call *ast.CallExpr) {
	callee := typeutil.StaticCallee(f.TypesInfo, call)
	if callee == nil {
		return
	}
	switch callee.FullName() {
	case "(*os.Process).Wait":
		if f.isProcess(call.Fun.(*ast.SelectorExpr).X) {
			f.Reportf(call.Pos(), "Process.Wait fails under a keeper, where the command is not a child of this program: use Cmd.Wait")
		}
	case "(*os.Process).Release":
		if p := call.Fun.(*ast.SelectorExpr).X; f.isProcess(p) && !f.detached(p) {
			f.Reportf(call.Pos(), "Process.Release before Cmd.Wait lets go of all that the command has started: say Leftovers: corral.DetachLeftovers if that is meant")
		}
	case "syscall.Kill", "golang.org/x/sys/unix.Kill":
		if minus, ok := f.origin(call.Args[0]).(*ast.UnaryExpr); ok && minus.Op == token.SUB && f.isGroup(minus.X) {
			f.Reportf(call.Pos(), "not all that the command has started is in its process group: use Cmd.Signal or Cmd.Stop")
		}
	}
}

func (f function) typeSwitch(s *ast.TypeSwitchStmt) {
	var x ast.Expr
	switch a := s.Assign.(type) {
	case *ast.ExprStmt:
		x = a.X
	case *ast.AssignStmt:
		x = a.Rhs[0]
	}
	for _, clause := range s.Body.List {
		for _, t := range clause.(*ast.CaseClause).List {
			if f.isExitError(t) && f.mayBeJoined(x.(*ast.TypeAssertExpr).X) {
				f.Reportf(t.Pos(), "this error may be a joined one, as Timeout, IdleTimeout, Lifelines or FailOnLeftovers is set: use errors.As")
			}
		}
	}
}

func (f function) compared(err, with ast.Expr) {
	if sel, ok := with.(*ast.SelectorExpr); ok && err != nil {
		v := f.TypesInfo.Uses[sel.Sel]
		if v != nil && v.Pkg() != nil && v.Pkg().Path() == "context" && (v.Name() == "DeadlineExceeded" || v.Name() == "Canceled") && f.mayBeJoined(err) {
			f.Reportf(with.Pos(), "this error may be a joined one, as Timeout, IdleTimeout, Lifelines or FailOnLeftovers is set: use errors.Is")
		}
	}
}

// origin returns what the last assignment before e in the text has set e to, if e
// is a variable of this function, or else e.
func (f function) origin(e ast.Expr) ast.Expr {
	e = ast.Unparen(e)
	id, ok := e.(*ast.Ident)
	if !ok {
		return e
	}
	v, ok := f.TypesInfo.ObjectOf(id).(*types.Var)
	if !ok {
		return e
	}
	var last ast.Expr
	set := func(names []ast.Expr, values []ast.Expr) {
		for i, name := range names {
			if lhs, ok := name.(*ast.Ident); ok && f.TypesInfo.ObjectOf(lhs) == v && len(values) > 0 {
				last = values[min(i, len(values)-1)]
			}
		}
	}
	ast.Inspect(f.body, func(n ast.Node) bool {
		if n == nil || n.Pos() >= id.Pos() {
			return false
		}
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.End() <= id.Pos() {
				set(n.Lhs, n.Rhs)
			}
		case *ast.ValueSpec:
			if n.End() > id.Pos() {
				break
			}
			names := make([]ast.Expr, len(n.Names))
			for i, name := range n.Names {
				names[i] = name
			}
			set(names, n.Values)
		}
		return true
	})
	if last == nil {
		return e
	}
	return f.origin(last)
}

// isProcess reports whether e is the Process of a Cmd.
func (f function) isProcess(e ast.Expr) bool {
	sel, ok := f.origin(e).(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "Process" && f.isCmd(sel.X, osexec)
}

// isGroup reports whether e is the PID of a Cmd, or its process group.
func (f function) isGroup(e ast.Expr) bool {
	e = f.origin(e)
	if call, ok := e.(*ast.CallExpr); ok && len(call.Args) == 1 {
		switch callee := typeutil.StaticCallee(f.TypesInfo, call); {
		case callee == nil:
			if !f.TypesInfo.Types[call.Fun].IsType() { // a conversion
				return false
			}
		case callee.FullName() != "syscall.Getpgid" && callee.FullName() != "golang.org/x/sys/unix.Getpgid":
			return false
		}
		e = f.origin(call.Args[0])
	}
	sel, ok := e.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "Pid" && f.isProcess(sel.X)
}

func (f function) isCmd(e ast.Expr, orOSExec bool) bool {
	t := f.TypesInfo.TypeOf(e)
	if t == nil {
		return false
	}
	if p, ok := types.Unalias(t).(*types.Pointer); ok {
		t = p.Elem()
	}
	return isNamed(t, library, "Cmd") || orOSExec && isNamed(t, "os/exec", "Cmd")
}

func (f function) isExitError(e ast.Expr) bool {
	p, ok := f.TypesInfo.TypeOf(e).(*types.Pointer)
	return ok && isNamed(p.Elem(), "os/exec", "ExitError")
}

func isNamed(t types.Type, pkg, name string) bool {
	n, ok := types.Unalias(t).(*types.Named)
	return ok && n.Obj().Name() == name && n.Obj().Pkg() != nil && n.Obj().Pkg().Path() == pkg
}

// mayBeJoined reports whether err comes from a corral.Cmd whose errors may be
// joined ones.
func (f function) mayBeJoined(err ast.Expr) bool {
	call, ok := f.origin(err).(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !f.isCmd(sel.X, false) {
		return false
	}
	switch sel.Sel.Name {
	case "Wait", "Run", "Output", "CombinedOutput":
		return f.mayBeSet(sel.X, f.joins)
	}
	return false
}

// joins reports whether a field of a corral.Cmd, set to value, has errors of its
// own: see Cmd.Wait.
func (f function) joins(field string, value ast.Expr) bool {
	switch field {
	case "Timeout", "IdleTimeout", "Lifelines":
		return true
	case "Leftovers":
		policy := f.constant(value)
		return policy == "" || policy == "FailOnLeftovers"
	}
	return false
}

// detached reports whether this function already says that the Cmd of a process
// lives on.
func (f function) detached(process ast.Expr) bool {
	sel, ok := f.origin(process).(*ast.SelectorExpr)
	if !ok {
		return false
	}
	var cmd types.Object
	if id, ok := ast.Unparen(sel.X).(*ast.Ident); ok {
		cmd = f.TypesInfo.ObjectOf(id)
	}
	wanted := func(field string, value ast.Expr) bool {
		return field == "Leftovers" && f.constant(value) == "DetachLeftovers"
	}
	return f.sets(f.body, cmd, wanted) || f.sets(f.origin(sel.X), nil, wanted)
}

// constant returns the name of the constant that e is, or "".
func (f function) constant(e ast.Expr) string {
	var id *ast.Ident
	switch e := ast.Unparen(e).(type) {
	case *ast.Ident:
		id = e
	case *ast.SelectorExpr:
		id = e.Sel
	}
	if c, ok := f.TypesInfo.Uses[id].(*types.Const); ok {
		return c.Name()
	}
	return ""
}

// mayBeSet reports whether a field of cmd may be set as wanted: by this function,
// if it has made cmd by Command or CommandContext, or else anywhere in the package.
func (f function) mayBeSet(cmd ast.Expr, wanted func(field string, value ast.Expr) bool) bool {
	if made, ok := f.origin(cmd).(*ast.CallExpr); ok {
		callee := typeutil.StaticCallee(f.TypesInfo, made)
		if callee != nil && (callee.FullName() == library+".Command" || callee.FullName() == library+".CommandContext") {
			id, ok := ast.Unparen(cmd).(*ast.Ident)
			return ok && f.sets(f.body, f.TypesInfo.ObjectOf(id), wanted)
		}
	}
	for _, file := range f.Files {
		if f.sets(file, nil, wanted) {
			return true
		}
	}
	return false
}

// sets reports whether something below n sets a field as wanted, of the variable of
// or, if that is nil, of any corral.Cmd.
func (f function) sets(n ast.Node, of types.Object, wanted func(field string, value ast.Expr) bool) (found bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for i, lhs := range n.Lhs {
				sel, ok := lhs.(*ast.SelectorExpr)
				if !ok || !f.isCmd(sel.X, false) || len(n.Rhs) != len(n.Lhs) || !wanted(sel.Sel.Name, n.Rhs[i]) {
					continue
				}
				id, _ := sel.X.(*ast.Ident)
				found = found || of == nil || id != nil && f.TypesInfo.ObjectOf(id) == of
			}
		case *ast.CompositeLit:
			for _, elt := range n.Elts {
				if kv, ok := elt.(*ast.KeyValueExpr); ok && of == nil && f.isCmd(n, false) {
					key, _ := kv.Key.(*ast.Ident)
					found = found || key != nil && wanted(key.Name, kv.Value)
				}
			}
		}
		return !found
	})
	return found
}
