//! What a Python file says without being run: its syntax, the names that it defines at its top, and what it imports.

use std::collections::BTreeSet;

use ruff_python_ast::{Expr, Stmt};

/// A place in a file, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Position {
    fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// One import that a file cannot load without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Import {
    /// The module, as it is written.
    pub(super) module: String,
    /// Names that are taken from it; empty for `import module`.
    pub(super) names: Vec<String>,
    pub(super) at: Position,
}

/// A Python file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Module {
    /// Names that are bound at its top level.
    pub(super) names: BTreeSet<String>,
    /// Some names are not seen here: `from x import *`, or a `__getattr__` of the module.
    pub(super) open: bool,
    /// Imports at its top level, those in `try` left out: a file may do without these.
    pub(super) imports: Vec<Import>,
}

impl Module {
    /// Parses a file. The error is the first one, with its place.
    pub(super) fn read(text: &str) -> Result<Self, (Position, String)> {
        let parsed = ruff_python_parser::parse_module(text).map_err(|error| {
            let at = Position::of(text, error.location.start().to_usize());
            (at, error.error.to_string())
        })?;
        let mut module = Self::default();
        for statement in &parsed.syntax().body {
            module.take(statement, text, true);
        }
        module.open |= module.names.contains("__getattr__");
        Ok(module)
    }

    fn take(&mut self, statement: &Stmt, text: &str, needed: bool) {
        let block = |module: &mut Self, body: &[Stmt], needed: bool| {
            for inner in body {
                module.take(inner, text, needed);
            }
        };
        match statement {
            Stmt::FunctionDef(of) => {
                self.names.insert(of.name.to_string());
            }
            Stmt::ClassDef(of) => {
                self.names.insert(of.name.to_string());
            }
            Stmt::Assign(of) => of.targets.iter().for_each(|target| self.bind(target)),
            Stmt::AnnAssign(of) => self.bind(&of.target),
            Stmt::Import(of) => {
                for alias in &of.names {
                    let name = alias.name.to_string();
                    let root = name.split('.').next().unwrap_or_default().to_owned();
                    let bound = alias.asname.as_ref().map(ToString::to_string);
                    self.names.insert(bound.unwrap_or(root));
                    if needed {
                        let at = Position::of(text, of.range.start().to_usize());
                        let names = Vec::new();
                        self.imports.push(Import {
                            module: name,
                            names,
                            at,
                        });
                    }
                }
            }
            Stmt::ImportFrom(of) => {
                let mut names = Vec::new();
                for alias in &of.names {
                    let name = alias.name.to_string();
                    if name == "*" {
                        self.open = true;
                        continue;
                    }
                    let bound = alias.asname.as_ref().map(ToString::to_string);
                    self.names.insert(bound.unwrap_or_else(|| name.clone()));
                    names.push(name);
                }
                if let Some(module) = of.module.as_ref().filter(|_| needed && of.level == 0) {
                    self.imports.push(Import {
                        module: module.to_string(),
                        names,
                        at: Position::of(text, of.range.start().to_usize()),
                    });
                }
            }
            Stmt::If(of) => {
                block(self, &of.body, false);
                for clause in &of.elif_else_clauses {
                    block(self, &clause.body, false);
                }
            }
            Stmt::Try(of) => {
                block(self, &of.body, false);
                for handler in &of.handlers {
                    let ruff_python_ast::ExceptHandler::ExceptHandler(handler) = handler;
                    block(self, &handler.body, false);
                }
                block(self, &of.orelse, false);
                block(self, &of.finalbody, false);
            }
            Stmt::With(of) => {
                for item in &of.items {
                    item.optional_vars
                        .iter()
                        .for_each(|target| self.bind(target));
                }
                block(self, &of.body, needed);
            }
            Stmt::For(of) => {
                self.bind(&of.target);
                block(self, &of.body, false);
                block(self, &of.orelse, false);
            }
            Stmt::While(of) => block(self, &of.body, false),
            _ => {}
        }
    }

    fn bind(&mut self, target: &Expr) {
        match target {
            Expr::Name(name) => {
                self.names.insert(name.id.to_string());
            }
            Expr::Tuple(of) => of.elts.iter().for_each(|inner| self.bind(inner)),
            Expr::List(of) => of.elts.iter().for_each(|inner| self.bind(inner)),
            Expr::Starred(of) => self.bind(&of.value),
            _ => {}
        }
    }

    /// Whether it may have something of this name.
    pub(super) fn may_have(&self, name: &str) -> bool {
        self.open || self.names.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_imports_are_found_at_the_top() {
        let module = Module::read(
            "import os.path, json as j\nfrom g import a as b, c\ntry:\n    import maybe\nexcept ImportError:\n    maybe = None\nX, (Y, *Z) = 1, (2, 3)\nif X:\n    def rule(event):\n        import inner\n        local = 1\n",
        )
        .unwrap();
        let names: Vec<&str> = module.names.iter().map(String::as_str).collect();
        assert_eq!(names, ["X", "Y", "Z", "b", "c", "j", "maybe", "os", "rule"]);
        let imports: Vec<&str> = module.imports.iter().map(|of| of.module.as_str()).collect();
        assert_eq!(imports, ["os.path", "json", "g"]);
        assert_eq!(module.imports[2].names, ["a", "c"]);
        assert!(!module.may_have("local"));
        assert!(Module::read("from g import *\n").unwrap().may_have("local"));
    }

    #[test]
    fn an_error_has_its_line_and_column() {
        let (at, reason) =
            Module::read("x = 'é'; y = 1\ndef rule(event)\n    return True\n").unwrap_err();
        assert_eq!((at.line, at.column), (2, 16));
        assert!(reason.contains("Expected `:`"), "{reason}");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _ = Module::read(&text);
        }
    }
}
