//! Is this the password of an old `htpasswd -d` line? The traditional crypt(3): DES over a block of zeros, 25 times, with a
//! salt that swaps bits of the expansion. Only checks what others wrote long ago; nobody should write it today.

/// What two characters of salt and a password give: thirteen characters, the salt among them. Only the first eight bytes of
/// the password count, and seven bits of each. `None`: the salt has other characters than crypt(3)'s.
pub(super) fn crypt(password: &[u8], salt: &[u8]) -> Option<String> {
    let (first, second) = (digit(*salt.first()?)?, digit(*salt.get(1)?)?);
    let key = password.iter().take_while(|byte| **byte != 0).take(8).enumerate();
    let key = key.fold(0_u64, |key, (at, byte)| key | u64::from(byte << 1) << (56 - 8 * at));
    let expansion = salted(u32::from(second) << 6 | u32::from(first));
    let keys = round_keys(key);
    let block = (0..25).fold(0, |block, _| encrypt(block, &keys, &expansion));
    let mut out = String::with_capacity(13);
    out.extend([char::from(salt[0]), char::from(salt[1])]);
    // Eleven digits of six bits, the last one padded with zeros.
    out.extend((0..10).map(|at| char::from(DIGITS[(block >> (58 - 6 * at) & 63) as usize])));
    out.push(char::from(DIGITS[(block << 2 & 63) as usize]));
    Some(out)
}

/// crypt(3)'s own base64.
pub(super) const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn digit(byte: u8) -> Option<u8> {
    DIGITS.iter().position(|digit| *digit == byte).and_then(|at| u8::try_from(at).ok())
}

/// Bit `table[0]` of `input` (counted from 1, most significant first, of `width` bits) becomes the first of the result.
fn permute(input: u64, width: u32, table: &[u8]) -> u64 {
    table.iter().fold(0, |out, from| out << 1 | (input >> (width - u32::from(*from)) & 1))
}

/// The expansion, with places swapped as the salt says.
fn salted(salt: u32) -> [u8; 48] {
    let mut table = E;
    (0..12).filter(|bit| salt >> bit & 1 == 1).for_each(|bit| table.swap(bit, bit + 24));
    table
}

fn round_keys(key: u64) -> [u64; 16] {
    const HALF: u64 = (1 << 28) - 1;
    let chosen = permute(key, 64, &PC1);
    let (mut left, mut right) = (chosen >> 28, chosen & HALF);
    SHIFTS.map(|by| {
        left = (left << by | left >> (28 - by)) & HALF;
        right = (right << by | right >> (28 - by)) & HALF;
        permute(left << 28 | right, 56, &PC2)
    })
}

fn encrypt(block: u64, keys: &[u64; 16], expansion: &[u8; 48]) -> u64 {
    let start = permute(block, 64, &IP);
    let (mut left, mut right) = (start >> 32, start & 0xffff_ffff);
    for key in keys {
        let mixed = permute(right, 32, expansion) ^ key;
        let boxed = BOXES.iter().enumerate().fold(0_u64, |out, (at, table)| {
            let six = (mixed >> (42 - 6 * at)) as usize & 63;
            let (row, column) = ((six >> 4 & 2) | (six & 1), six >> 1 & 15);
            out << 4 | u64::from(table[row * 16 + column])
        });
        (left, right) = (right, left ^ permute(boxed, 32, &P));
    }
    permute(right << 32 | left, 64, &FP)
}

// The tables of FIPS 46-3.
#[rustfmt::skip]
const IP: [u8; 64] = [
    58, 50, 42, 34, 26, 18, 10, 2, 60, 52, 44, 36, 28, 20, 12, 4, 62, 54, 46, 38, 30, 22, 14, 6, 64, 56, 48, 40, 32, 24, 16, 8,
    57, 49, 41, 33, 25, 17, 9, 1, 59, 51, 43, 35, 27, 19, 11, 3, 61, 53, 45, 37, 29, 21, 13, 5, 63, 55, 47, 39, 31, 23, 15, 7,
];
#[rustfmt::skip]
const FP: [u8; 64] = [
    40, 8, 48, 16, 56, 24, 64, 32, 39, 7, 47, 15, 55, 23, 63, 31, 38, 6, 46, 14, 54, 22, 62, 30, 37, 5, 45, 13, 53, 21, 61, 29,
    36, 4, 44, 12, 52, 20, 60, 28, 35, 3, 43, 11, 51, 19, 59, 27, 34, 2, 42, 10, 50, 18, 58, 26, 33, 1, 41, 9, 49, 17, 57, 25,
];
#[rustfmt::skip]
const E: [u8; 48] = [
    32, 1, 2, 3, 4, 5, 4, 5, 6, 7, 8, 9, 8, 9, 10, 11, 12, 13, 12, 13, 14, 15, 16, 17,
    16, 17, 18, 19, 20, 21, 20, 21, 22, 23, 24, 25, 24, 25, 26, 27, 28, 29, 28, 29, 30, 31, 32, 1,
];
#[rustfmt::skip]
const P: [u8; 32] = [
    16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10, 2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4, 25,
];
#[rustfmt::skip]
const PC1: [u8; 56] = [
    57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44, 36,
    63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20, 12, 4,
];
#[rustfmt::skip]
const PC2: [u8; 48] = [
    14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2,
    41, 52, 31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32,
];
const SHIFTS: [u32; 16] = [1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1];
#[rustfmt::skip]
const BOXES: [[u8; 64]; 8] = [
    [14, 4, 13, 1, 2, 15, 11, 8, 3, 10, 6, 12, 5, 9, 0, 7, 0, 15, 7, 4, 14, 2, 13, 1, 10, 6, 12, 11, 9, 5, 3, 8,
     4, 1, 14, 8, 13, 6, 2, 11, 15, 12, 9, 7, 3, 10, 5, 0, 15, 12, 8, 2, 4, 9, 1, 7, 5, 11, 3, 14, 10, 0, 6, 13],
    [15, 1, 8, 14, 6, 11, 3, 4, 9, 7, 2, 13, 12, 0, 5, 10, 3, 13, 4, 7, 15, 2, 8, 14, 12, 0, 1, 10, 6, 9, 11, 5,
     0, 14, 7, 11, 10, 4, 13, 1, 5, 8, 12, 6, 9, 3, 2, 15, 13, 8, 10, 1, 3, 15, 4, 2, 11, 6, 7, 12, 0, 5, 14, 9],
    [10, 0, 9, 14, 6, 3, 15, 5, 1, 13, 12, 7, 11, 4, 2, 8, 13, 7, 0, 9, 3, 4, 6, 10, 2, 8, 5, 14, 12, 11, 15, 1,
     13, 6, 4, 9, 8, 15, 3, 0, 11, 1, 2, 12, 5, 10, 14, 7, 1, 10, 13, 0, 6, 9, 8, 7, 4, 15, 14, 3, 11, 5, 2, 12],
    [7, 13, 14, 3, 0, 6, 9, 10, 1, 2, 8, 5, 11, 12, 4, 15, 13, 8, 11, 5, 6, 15, 0, 3, 4, 7, 2, 12, 1, 10, 14, 9,
     10, 6, 9, 0, 12, 11, 7, 13, 15, 1, 3, 14, 5, 2, 8, 4, 3, 15, 0, 6, 10, 1, 13, 8, 9, 4, 5, 11, 12, 7, 2, 14],
    [2, 12, 4, 1, 7, 10, 11, 6, 8, 5, 3, 15, 13, 0, 14, 9, 14, 11, 2, 12, 4, 7, 13, 1, 5, 0, 15, 10, 3, 9, 8, 6,
     4, 2, 1, 11, 10, 13, 7, 8, 15, 9, 12, 5, 6, 3, 0, 14, 11, 8, 12, 7, 1, 14, 2, 13, 6, 15, 0, 9, 10, 4, 5, 3],
    [12, 1, 10, 15, 9, 2, 6, 8, 0, 13, 3, 4, 14, 7, 5, 11, 10, 15, 4, 2, 7, 12, 9, 5, 6, 1, 13, 14, 0, 11, 3, 8,
     9, 14, 15, 5, 2, 8, 12, 3, 7, 0, 4, 10, 1, 13, 11, 6, 4, 3, 2, 12, 9, 5, 15, 10, 11, 14, 1, 7, 6, 0, 8, 13],
    [4, 11, 2, 14, 15, 0, 8, 13, 3, 12, 9, 7, 5, 10, 6, 1, 13, 0, 11, 7, 4, 9, 1, 10, 14, 3, 5, 12, 2, 15, 8, 6,
     1, 4, 11, 13, 12, 3, 7, 14, 10, 15, 6, 8, 0, 5, 9, 2, 6, 11, 13, 8, 1, 4, 10, 7, 9, 5, 0, 15, 14, 2, 3, 12],
    [13, 2, 8, 4, 6, 15, 11, 1, 10, 9, 3, 14, 5, 0, 12, 7, 1, 15, 13, 8, 10, 3, 7, 4, 12, 5, 6, 11, 0, 14, 9, 2,
     7, 11, 4, 1, 9, 12, 14, 2, 0, 6, 10, 13, 15, 3, 5, 8, 2, 1, 14, 7, 4, 10, 8, 13, 15, 12, 9, 0, 3, 5, 6, 11],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_what_the_c_library_gives() {
        for (password, hash) in [("secret", "abNANd1rDfiNc"), ("longer than eight", "./yPRzyX/WeSM")] {
            assert_eq!(crypt(password.as_bytes(), &hash.as_bytes()[..2]).as_deref(), Some(hash));
        }
        assert_eq!(crypt(b"x", b"!!"), None);
        assert_eq!(crypt(b"x", b"a"), None);
    }
}
