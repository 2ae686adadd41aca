//! How alike two texts are, as `difflib.SequenceMatcher(None, a, b).ratio()` has it: twice the characters in common runs, by all characters.
//!
//! Runs are found as Ratcliff and Obershelp describe: the longest one first, then those before and behind it. Among equally long ones the first in `a`, then in `b`, counts.

use std::collections::HashMap;

/// A text from so many characters on has characters that are left out as too frequent (difflib's `autojunk`).
const FREQUENT_FROM: usize = 200;

pub(super) fn ratio(a: &str, b: &str) -> f64 {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.is_empty() && b.is_empty() {
        return 1.0;
    }
    let mut places: HashMap<char, Vec<usize>> = HashMap::new();
    for (place, letter) in b.iter().enumerate() {
        places.entry(*letter).or_default().push(place);
    }
    if b.len() >= FREQUENT_FROM {
        places.retain(|_, places| places.len() <= b.len() / 100 + 1);
    }
    let texts = Texts { a, b, places };
    let mut open = vec![(0, texts.a.len(), 0, texts.b.len())];
    let mut common = 0;
    while let Some((a_from, a_to, b_from, b_to)) = open.pop() {
        let (in_a, in_b, length) = texts.longest_run(a_from, a_to, b_from, b_to);
        if length == 0 {
            continue;
        }
        common += length;
        if a_from < in_a && b_from < in_b {
            open.push((a_from, in_a, b_from, in_b));
        }
        if in_a + length < a_to && in_b + length < b_to {
            open.push((in_a + length, a_to, in_b + length, b_to));
        }
    }
    #[allow(clippy::cast_precision_loss)]
    let (common, all) = (common as f64, (texts.a.len() + texts.b.len()) as f64);
    2.0 * common / all
}

struct Texts {
    a: Vec<char>,
    b: Vec<char>,
    /// Where a character stands in `b`.
    places: HashMap<char, Vec<usize>>,
}

impl Texts {
    /// The longest run that both parts have: where it begins in `a` and in `b`, and its length.
    fn longest_run(
        &self,
        a_from: usize,
        a_to: usize,
        b_from: usize,
        b_to: usize,
    ) -> (usize, usize, usize) {
        let (mut in_a, mut in_b, mut length) = (a_from, b_from, 0);
        // Lengths of the runs that end at a place of `b` and the character of `a` before.
        let mut before: HashMap<usize, usize> = HashMap::new();
        for (at, letter) in (a_from..a_to).zip(&self.a[a_from..a_to]) {
            let mut here = HashMap::new();
            let places = self.places.get(letter).map_or(&[][..], Vec::as_slice);
            for place in places
                .iter()
                .skip_while(|place| **place < b_from)
                .take_while(|place| **place < b_to)
            {
                let run = place
                    .checked_sub(1)
                    .and_then(|last| before.get(&last))
                    .unwrap_or(&0)
                    + 1;
                here.insert(*place, run);
                if run > length {
                    (in_a, in_b, length) = (at + 1 - run, place + 1 - run, run);
                }
            }
            before = here;
        }
        // Frequent characters start no run and may go on with one.
        while in_a > a_from && in_b > b_from && self.a[in_a - 1] == self.b[in_b - 1] {
            (in_a, in_b, length) = (in_a - 1, in_b - 1, length + 1);
        }
        while in_a + length < a_to
            && in_b + length < b_to
            && self.a[in_a + length] == self.b[in_b + length]
        {
            length += 1;
        }
        (in_a, in_b, length)
    }
}
