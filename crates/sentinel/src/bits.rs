//! A set of positions in a committee.

use bytes::{Buf, BufMut};
use commonware_codec::{EncodeSize, Error, Read, ReadExt as _, Write, varint::UInt};

/// Members of a committee at the most.
pub(crate) const MEMBERS_MAX: usize = 1 << 16;
const WORD: usize = u64::BITS as usize;

/// A set of positions below a size that is fixed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bits(Box<[u64]>);

impl Bits {
    /// None of `size` positions.
    pub(crate) fn none(size: usize) -> Self {
        Self(vec![0; size.div_ceil(WORD)].into())
    }

    /// Adds `at`; a position beyond the size is none.
    pub(crate) fn set(&mut self, at: usize) {
        debug_assert!(at / WORD < self.0.len(), "position {at} of {} words", self.0.len());
        if let Some(word) = self.0.get_mut(at / WORD) {
            *word |= 1 << (at % WORD);
        }
    }

    pub(crate) fn has(&self, at: usize) -> bool {
        self.0.get(at / WORD).is_some_and(|word| word & (1 << (at % WORD)) != 0)
    }

    pub(crate) fn words(&self) -> &[u64] {
        &self.0
    }

    /// The positions, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(nth, word)| ones(nth, *word))
    }
}

/// The positions in word `nth`, ascending.
pub(crate) fn ones(nth: usize, mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (word != 0).then(|| {
            let at = word.trailing_zeros() as usize;
            word &= word - 1;
            nth * WORD + at
        })
    })
}

impl Write for Bits {
    fn write(&self, buf: &mut impl BufMut) {
        UInt(self.0.len() as u64).write(buf);
        self.0.iter().for_each(|word| buf.put_u64(*word));
    }
}

impl EncodeSize for Bits {
    fn encode_size(&self) -> usize {
        UInt(self.0.len() as u64).encode_size() + 8 * self.0.len()
    }
}

impl Read for Bits {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let words: u64 = UInt::read(buf)?.into();
        let words = usize::try_from(words).unwrap_or(usize::MAX);
        if words > MEMBERS_MAX / WORD {
            return Err(Error::InvalidLength(words));
        }
        Ok(Self((0..words).map(|_| u64::read(buf)).collect::<Result<_, Error>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_codec::{DecodeExt as _, Encode as _};

    #[test]
    fn a_set_has_what_was_added_and_survives_its_encoding() {
        let mut bits = Bits::none(130);
        let added = [0, 1, 63, 64, 127, 129];
        added.iter().for_each(|at| bits.set(*at));
        assert_eq!(bits.iter().collect::<Vec<_>>(), added);
        assert!((0..130).all(|at| bits.has(at) == added.contains(&at)) && !bits.has(100_000));
        assert_eq!(Bits::decode(bits.encode()).unwrap(), bits);
        assert_eq!(bits.encode().len(), bits.encode_size());
    }
}
