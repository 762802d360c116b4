//! Choices from random bytes.  When they have run out every choice is the first one: a generator must come to
//! its end by itself.

use arbitrary::Unstructured;

pub struct Dice<'a>(pub Unstructured<'a>);

impl<'a> Dice<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Dice(Unstructured::new(bytes))
    }

    pub fn bits32(&mut self) -> u32 {
        self.0.arbitrary().unwrap_or(0)
    }

    pub fn bits64(&mut self) -> u64 {
        self.0.arbitrary().unwrap_or(0)
    }

    /// 0 to `end - 1`.
    pub fn below(&mut self, end: u32) -> u32 {
        self.0.int_in_range(0..=end - 1).unwrap_or(0)
    }

    /// `from` to `to`, both included.
    pub fn between(&mut self, from: u32, to: u32) -> u32 {
        from + self.below(to - from + 1)
    }

    /// True `of` times out of `all`.
    pub fn chance(&mut self, of: u32, all: u32) -> bool {
        self.below(all) < of
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u32) as usize]
    }
}
