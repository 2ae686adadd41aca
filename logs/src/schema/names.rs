//! Hash table from field names to field numbers: small, with open addressing. The hash reads only the length, head and tail of a name.

/// The field names of one object.
#[derive(Debug)]
pub(super) struct Names {
    slots: Vec<Option<(Box<str>, usize)>>,
}

impl Names {
    pub(super) fn new<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> Self {
        let size = (names.len() * 4).next_power_of_two().max(8);
        let mut slots: Vec<Option<(Box<str>, usize)>> = vec![None; size];
        for (number, name) in names.enumerate() {
            let mut at = hash(name) & (size - 1);
            while slots.get(at).is_some_and(Option::is_some) {
                at = (at + 1) & (size - 1);
            }
            if let Some(slot) = slots.get_mut(at) {
                *slot = Some((name.into(), number));
            }
        }
        Self { slots }
    }

    #[inline]
    pub(super) fn get(&self, name: &str) -> Option<usize> {
        let mask = self.slots.len() - 1;
        let mut at = hash(name) & mask;
        while let Some(Some((known, number))) = self.slots.get(at) {
            if **known == *name {
                return Some(*number);
            }
            at = (at + 1) & mask;
        }
        None
    }
}

#[inline]
fn hash(name: &str) -> usize {
    let bytes = name.as_bytes();
    let (head, tail) = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
        _ => (
            bytes
                .iter()
                .fold(0, |sum, byte| (sum << 8) | u64::from(*byte)),
            0,
        ),
    };
    let mixed =
        (head ^ tail.rotate_left(29) ^ (bytes.len() as u64)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_each_name_and_no_other() {
        let names: Vec<String> = (0..200)
            .map(|number| format!("{}name{number}", "x".repeat(number % 20)))
            .collect();
        let table = Names::new(names.iter().map(String::as_str));
        for (number, name) in names.iter().enumerate() {
            assert_eq!(table.get(name), Some(number));
        }
        for name in ["", "name", "xname200", "xxxxxxxxxxxxxxxxxxxxxxxxxx"] {
            assert_eq!(table.get(name), None);
        }
    }
}
