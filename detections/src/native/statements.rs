//! Statements: what is done one after the other, loops, and what becomes of exceptions.

use bumpalo::Bump;

use super::program::{Handler, Statement};
use super::run::{Flow, Frame, Run};
use super::stop::{Raised, Stop};
use super::value::{Done, Value};

impl<'e> Run<'e> {
    pub(super) fn block(
        &mut self,
        statements: &'e [Statement],
        frame: Frame<'_, 'e>,
    ) -> Done<'e, Flow<'e>> {
        self.nest()?;
        let flow = self.each_of(statements, frame);
        self.leave();
        flow
    }

    fn each_of(&mut self, statements: &'e [Statement], frame: Frame<'_, 'e>) -> Done<'e, Flow<'e>> {
        for statement in statements {
            match self.statement(statement, frame)? {
                Flow::On => {}
                other => return Ok(other),
            }
        }
        Ok(Flow::On)
    }

    fn statement(&mut self, statement: &'e Statement, frame: Frame<'_, 'e>) -> Done<'e, Flow<'e>> {
        self.step(1)?;
        match statement {
            Statement::Return(value) => {
                return Ok(Flow::Return(match value {
                    Some(value) => self.evaluate(value, frame)?,
                    None => Value::None,
                }));
            }
            Statement::Expression(value) => {
                self.evaluate(value, frame)?;
            }
            Statement::Assign(targets, value) => {
                let value = self.evaluate(value, frame)?;
                for target in targets {
                    self.assign(target, value, frame)?;
                }
            }
            Statement::Augment(target, operator, value) => {
                self.augment(target, *operator, value, frame)?;
            }
            Statement::If(test, yes, no) => {
                let chosen = if self.truth(test, frame)? { yes } else { no };
                return self.block(chosen, frame);
            }
            Statement::For {
                target,
                over,
                body,
                otherwise,
            } => return self.for_loop(target, over, body, otherwise, frame),
            Statement::While {
                test,
                body,
                otherwise,
            } => {
                loop {
                    self.step(1)?;
                    if !self.truth(test, frame)? {
                        break;
                    }
                    match self.block(body, frame)? {
                        Flow::On | Flow::Continue => {}
                        Flow::Break => return Ok(Flow::On),
                        returned => return Ok(returned),
                    }
                }
                return self.block(otherwise, frame);
            }
            Statement::Try {
                body,
                handlers,
                otherwise,
                finally,
            } => return self.attempt(body, handlers, otherwise, finally, frame),
            Statement::Raise(what) => {
                let Some(what) = what else {
                    return Err(Stop::Hole(&"raising again"));
                };
                return Err(match self.evaluate(what, frame)? {
                    Value::Error(raised) => Stop::Raise(raised),
                    Value::ErrorClass(classes) => Stop::Raise(self.arena.alloc(Raised {
                        classes,
                        text: None,
                    })),
                    _ => Stop::Hole(&"raising something else"),
                });
            }
            Statement::Break => return Ok(Flow::Break),
            Statement::Continue => return Ok(Flow::Continue),
            Statement::Pass => {}
            Statement::Hole(what) => return Err(Stop::NoForm(what)),
        }
        Ok(Flow::On)
    }

    fn attempt(
        &mut self,
        body: &'e [Statement],
        handlers: &'e [Handler],
        otherwise: &'e [Statement],
        finally: &'e [Statement],
        frame: Frame<'_, 'e>,
    ) -> Done<'e, Flow<'e>> {
        let depth = self.depth;
        let mut flow = match self.block(body, frame) {
            Ok(Flow::On) => self.block(otherwise, frame),
            Err(Stop::Raise(raised)) => {
                self.depth = depth;
                self.handle(raised, handlers, frame)
            }
            other => other,
        };
        if matches!(
            flow,
            Err(Stop::Hole(_) | Stop::NoForm(_) | Stop::Missing(_))
        ) {
            return flow;
        }
        self.depth = depth;
        match self.block(finally, frame)? {
            Flow::On => {}
            instead => flow = Ok(instead),
        }
        flow
    }

    fn handle(
        &mut self,
        raised: &'e Raised<'e>,
        handlers: &'e [Handler],
        frame: Frame<'_, 'e>,
    ) -> Done<'e, Flow<'e>> {
        for handler in handlers {
            let takes = match &handler.class {
                None => true,
                Some(class) => {
                    let class = self.evaluate(class, frame)?;
                    takes(&class, raised, self.arena)?
                }
            };
            if takes {
                if let Some(slot) = handler.slot {
                    frame[slot] = Value::Error(raised);
                }
                self.trail.clear();
                self.trail.handling += 1;
                let flow = self.block(&handler.body, frame);
                self.trail.handling -= 1;
                if let Some(slot) = handler.slot {
                    frame[slot] = Value::Unbound;
                }
                return flow;
            }
        }
        Err(Stop::Raise(raised))
    }
}

pub(super) fn takes<'e>(class: &Value<'e>, raised: &Raised<'e>, arena: &'e Bump) -> Done<'e, bool> {
    match class {
        Value::ErrorClass(classes) => Ok(raised.classes.include(classes.name())),
        value if value.is_tuple() => {
            for one in value.elements(arena)?.unwrap_or(&[]) {
                if one.is_tuple() {
                    return Err(Stop::Hole(&"classes inside classes"));
                }
                if takes(one, raised, arena)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        _ => Err(Stop::Hole(&"an exception of another sort")),
    }
}
