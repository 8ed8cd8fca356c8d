//! Keyed permutations: a device's ids and addresses look random, are unique in its tenant, and lead back to its
//! number without any table, so that a fleet of a million costs no memory and one GET costs no search.

use uuid::Uuid;

/// SplitMix64 over three inputs: the simulator's only source of generated properties.
#[must_use]
pub const fn mix(a: u64, b: u64, c: u64) -> u64 {
    let mut z = a
        .wrapping_add(b.wrapping_mul(0x9E37_79B9_7F4A_7C15))
        .wrapping_add(c.wrapping_mul(0xD1B5_4A32_D192_ED03));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A four-round Feistel network over `2 * HALF` bits.
#[must_use]
pub const fn permute<const HALF: u32>(value: u64, key: u64) -> u64 {
    let mask = (1 << HALF) - 1;
    let (mut left, mut right) = ((value >> HALF) & mask, value & mask);
    let mut round = 0;
    while round < 4 {
        (left, right) = (right, left ^ (mix(key, right, round) & mask));
        round += 1;
    }
    (left << HALF) | right
}

/// The inverse of [`permute`].
#[must_use]
pub const fn unpermute<const HALF: u32>(value: u64, key: u64) -> u64 {
    let mask = (1 << HALF) - 1;
    let (mut left, mut right) = ((value >> HALF) & mask, value & mask);
    let mut round = 4;
    while round > 0 {
        round -= 1;
        (left, right) = (right ^ (mix(key, left, round) & mask), left);
    }
    (left << HALF) | right
}

/// A GUID (version 4 in form) whose first 48 bits are the permuted index and whose rest checks them.
#[must_use]
pub fn guid_of(index: u64, key: u64) -> Uuid {
    let block = permute::<24>(index, key);
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&block.to_be_bytes()[2..]);
    bytes[6..14].copy_from_slice(&mix(key, block, 11).to_be_bytes());
    bytes[14..].copy_from_slice(&mix(key, block, 12).to_be_bytes()[..2]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// The index that [`guid_of`] hid in `guid`, if it was made with `key`.
#[must_use]
pub fn index_in(guid: Uuid, key: u64) -> Option<u64> {
    let block = guid.as_bytes()[..6].iter().fold(0, |block, byte| (block << 8) | u64::from(*byte));
    let index = unpermute::<24>(block, key);
    (guid_of(index, key) == guid).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_leads_back_to_its_index_and_only_under_its_key() {
        for index in (0..5_000).chain([999_999, (1 << 40) + 3]) {
            let guid = guid_of(index, 42);
            assert_eq!(guid.get_version_num(), 4);
            assert_eq!(index_in(guid, 42), Some(index));
            assert_eq!(index_in(guid, 43), None);
        }
    }

    #[test]
    fn a_permutation_collides_nowhere() {
        let seen: std::collections::HashSet<u64> = (0..20_000).map(|index| permute::<12>(index, 7)).collect();
        assert_eq!(seen.len(), 20_000);
        assert!((0..20_000).all(|index| unpermute::<12>(permute::<12>(index, 7), 7) == index));
    }
}
