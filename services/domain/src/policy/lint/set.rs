//! Sets of cells, and boxes of them.

/// A set of cells of one dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    words: Vec<u64>,
}

impl Set {
    /// The cells below `size` of which `holds` is true.
    pub fn of(size: usize, holds: impl Fn(usize) -> bool) -> Self {
        let mut words = vec![0; size.div_ceil(64)];
        for cell in (0..size).filter(|cell| holds(*cell)) {
            words[cell / 64] |= 1 << (cell % 64);
        }
        Self { words }
    }

    pub fn contains(&self, cell: usize) -> bool {
        self.words.get(cell / 64).is_some_and(|word| word >> (cell % 64) & 1 == 1)
    }

    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    pub fn and(&self, other: &Self) -> Self {
        Self { words: self.words.iter().zip(&other.words).map(|(a, b)| a & b).collect() }
    }

    pub fn without(&self, other: &Self) -> Self {
        Self { words: self.words.iter().zip(&other.words).map(|(a, b)| a & !b).collect() }
    }

    pub fn is_subset(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).all(|(a, b)| a & !b == 0)
    }
}

/// A set of cells in some dimensions; in all others, every cell. Sorted by dimension.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Region {
    sides: Vec<(usize, Set)>,
}

impl Region {
    /// The cells left in a dimension; `None` for all of them.
    pub fn side(&self, dim: usize) -> Option<&Set> {
        self.sides.binary_search_by_key(&dim, |(d, _)| *d).ok().map(|at| &self.sides[at].1)
    }

    /// Cuts a dimension down to some of its cells.
    pub fn restrict(&mut self, dim: usize, to: &Set) {
        match self.sides.binary_search_by_key(&dim, |(d, _)| *d) {
            Ok(at) => self.sides[at].1 = self.sides[at].1.and(to),
            Err(at) => self.sides.insert(at, (dim, to.clone())),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.sides.iter().any(|(_, set)| set.is_empty())
    }

    /// The dimensions in which it is not whole.
    pub fn sides(&self) -> impl Iterator<Item = (usize, &Set)> {
        self.sides.iter().map(|(dim, set)| (*dim, set))
    }

    /// Whether everything in it is in `other`.
    pub fn is_within(&self, other: &Self) -> bool {
        other.sides.iter().all(|(dim, set)| self.side(*dim).is_some_and(|own| own.is_subset(set)))
    }

    fn is_disjoint(&self, other: &Self) -> bool {
        other.sides.iter().any(|(dim, set)| match self.side(*dim) {
            Some(own) => own.and(set).is_empty(),
            None => set.is_empty(),
        })
    }

    /// What is left of it without `other`, as disjoint pieces; `None` where nothing of `other` is in it. `whole`
    /// gives every cell of a dimension.
    pub fn minus(&self, other: &Self, whole: impl Fn(usize) -> Set) -> Option<Vec<Self>> {
        if self.is_disjoint(other) {
            return None;
        }
        let mut pieces = Vec::new();
        let mut rest = self.clone();
        for (dim, set) in &other.sides {
            let own = rest.side(*dim).cloned().unwrap_or_else(|| whole(*dim));
            let outside = own.without(set);
            if !outside.is_empty() {
                let mut piece = rest.clone();
                piece.restrict(*dim, &outside);
                pieces.push(piece);
            }
            rest.restrict(*dim, &own.and(set));
        }
        Some(pieces)
    }
}
