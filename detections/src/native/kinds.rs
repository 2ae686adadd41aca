//! Instances of a pack's classes: how they are made, called and read.

use std::cell::RefCell;

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use super::constants::Kind;
use super::run::Run;
use super::stop::{Stop, raise};
use super::value::{Done, Instance, Value};

impl<'e> Run<'e> {
    /// `Class(...)`.
    pub(super) fn instance(
        &mut self,
        kind: &'e Kind,
        positional: &[Value<'e>],
        named: &[(&'e str, Value<'e>)],
    ) -> Done<'e> {
        let instance = Value::Instance(self.arena.alloc(Instance::bare(kind, self.arena)));
        if let (Some(fields), Value::Instance(made)) = (&kind.fields, instance) {
            made.fill(fields, positional, named)?;
            return Ok(instance);
        }
        match kind.methods.get("__init__") {
            Some(place) => {
                let made = self.with_self(*place, instance, positional, named)?;
                if !matches!(made, Value::None) {
                    return Err(raise("TypeError"));
                }
            }
            None if positional.is_empty() && named.is_empty() => {}
            None => return Err(raise("TypeError")),
        }
        Ok(instance)
    }

    fn with_self(
        &mut self,
        place: usize,
        instance: Value<'e>,
        positional: &[Value<'e>],
        named: &[(&'e str, Value<'e>)],
    ) -> Done<'e> {
        let mut all = ArenaVec::with_capacity_in(positional.len() + 1, self.arena);
        all.push(instance);
        all.extend_from_slice(positional);
        self.call_place(place, &all, named)
    }

    /// `instance.name(...)`.
    pub(super) fn own_method(
        &mut self,
        instance: &'e Instance<'e>,
        name: &str,
        positional: &[Value<'e>],
        named: &[(&'e str, Value<'e>)],
    ) -> Done<'e> {
        // What stands in the instance goes first.
        if instance.has(name) {
            return Err(Stop::Hole(&"a call of an attribute"));
        }
        match instance.kind.methods.get(name) {
            Some(place) => self.with_self(*place, Value::Instance(instance), positional, named),
            None => Err(Stop::Hole(&"a method of a class of the pack")),
        }
    }

    /// `instance.name`.
    pub(super) fn own_attribute(&mut self, instance: &'e Instance<'e>, name: &str) -> Done<'e> {
        // A property goes before what stands in the instance.
        if let Some(place) = instance.kind.properties.get(name) {
            return self.with_self(*place, Value::Instance(instance), &[], &[]);
        }
        let attributes = instance.attributes.borrow();
        if let Some((_, value)) = attributes.iter().find(|(known, _)| *known == name) {
            return Ok(*value);
        }
        match instance.kind.constants.get(name) {
            Some(constant) => constant.value(),
            None => Err(Stop::Hole(&"an attribute of a class of the pack")),
        }
    }
}

impl<'e> Instance<'e> {
    /// An instance as it is before anything is set in it.
    pub(super) fn bare(kind: &'e Kind, arena: &'e Bump) -> Self {
        Self {
            kind,
            attributes: RefCell::new(ArenaVec::new_in(arena)),
        }
    }

    fn has(&self, name: &str) -> bool {
        let attributes = self.attributes.borrow();
        attributes.iter().any(|(known, _)| *known == name)
    }

    /// Whether `instance.name` is there, as far as that is known.
    pub(super) fn knows(&self, name: &str) -> Option<bool> {
        let kind = self.kind;
        if self.has(name)
            || kind.methods.contains_key(name)
            || kind.properties.contains_key(name)
            || kind.constants.contains_key(name)
        {
            return Some(true);
        }
        let of_tuples = name.starts_with('_') || matches!(name, "count" | "index");
        (kind.fields.is_some() && !of_tuples).then_some(false)
    }

    /// Sets the fields of a named tuple.
    fn fill(
        &self,
        fields: &'e [Box<str>],
        positional: &[Value<'e>],
        named: &[(&'e str, Value<'e>)],
    ) -> Done<'e, ()> {
        if positional.len() + named.len() != fields.len() {
            return Err(raise("TypeError"));
        }
        let mut attributes = self.attributes.borrow_mut();
        for (place, field) in fields.iter().enumerate() {
            let by_name = || named.iter().find(|(name, _)| **name == **field);
            let value = match positional.get(place) {
                Some(value) => *value,
                None => by_name().ok_or_else(|| raise("TypeError"))?.1,
            };
            attributes.push((field, value));
        }
        Ok(())
    }

    /// `instance.name = value`.
    pub(super) fn set(&self, name: &'e str, value: Value<'e>) -> Done<'e, ()> {
        if self.kind.fixed || self.kind.properties.contains_key(name) {
            return Err(Stop::Hole(&"a property that is set"));
        }
        let mut attributes = self.attributes.borrow_mut();
        match attributes.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => attributes.push((name, value)),
        }
        Ok(())
    }
}
