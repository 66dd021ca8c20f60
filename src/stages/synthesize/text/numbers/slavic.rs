//! What Czech, Polish and Russian share: groups of three digits, each followed by its scale in one
//! of three forms.

use super::{groups, join_amount};

/// Forms after one, after two to four, and after all other numbers.
pub(super) type Forms = [&'static str; 3];

/// The words of one language.
pub(super) struct Words {
    pub zero: &'static str,
    /// In two genders, where they differ: masculine or as counted, then feminine.
    pub ones: [[&'static str; 10]; 2],
    pub teens: [&'static str; 10],
    pub tens: [&'static str; 10],
    pub hundreds: [&'static str; 10],
    /// Powers of a thousand, from the first.
    pub scales: &'static [Forms],
    pub form: fn(u128) -> usize,
    /// Whether a lone one is heard before its scale: `одна тысяча`, but `tysiąc`.
    pub says_one_thousand: bool,
}

/// The gender of what is counted, as an index of [`Words::ones`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gender {
    Masculine,
    Feminine,
}

impl Words {
    pub fn cardinal(&self, number: u128, gender: Gender) -> String {
        if number == 0 {
            return self.zero.to_owned();
        }
        let mut words = Vec::new();
        for (exponent, group) in groups(number, 1000) {
            // A thousand is feminine where genders differ.
            let gender = if exponent == 1 {
                Gender::Feminine
            } else {
                gender
            };
            if exponent == 0 || group != 1 || self.says_one_thousand {
                words.extend(self.below_thousand(group as usize, gender));
            }
            if exponent > 0 {
                words.push(self.scales[exponent - 1][(self.form)(group)]);
            }
        }
        words.join(" ")
    }

    pub fn below_thousand(&self, number: usize, gender: Gender) -> Vec<&'static str> {
        let (hundreds, tens, ones) = (number / 100, number / 10 % 10, number % 10);
        let mut words = vec![self.hundreds[hundreds]];
        match tens {
            1 => words.push(self.teens[ones]),
            _ => words.extend([self.tens[tens], self.ones[gender as usize][ones]]),
        }
        words.retain(|word| !word.is_empty());
        words
    }

    /// `two euro, fifteen cents`.
    pub fn amount(
        &self,
        [unit, hundredth]: [Forms; 2],
        units: u128,
        hundredths: Option<u128>,
    ) -> String {
        let counted = |forms: Forms, number| {
            format!(
                "{} {}",
                self.cardinal(number, Gender::Masculine),
                forms[(self.form)(number)]
            )
        };
        join_amount(
            ", ",
            counted(unit, units),
            hundredths.map(|number| counted(hundredth, number)),
        )
    }

    /// `twelve point zero five`: zeros one by one, then the rest as a number. A whole number is
    /// taken to have one decimal, which is read twice: as a zero before the rest and as the rest.
    pub fn point(&self, point_word: &str, whole: u128, decimals: &str) -> String {
        let decimals = if decimals.is_empty() { "0" } else { decimals };
        let rest = decimals.trim_start_matches('0');
        let mut words = vec![
            self.cardinal(whole, Gender::Masculine),
            point_word.to_owned(),
        ];
        words.extend((rest.len()..decimals.len()).map(|_| self.zero.to_owned()));
        words.push(self.cardinal(rest.parse().unwrap_or_default(), Gender::Masculine));
        words.join(" ")
    }
}

/// Czech and Polish: only one itself takes the first form.
pub(super) fn west_slavic_form(number: u128) -> usize {
    match (number, number % 10, number % 100) {
        (1, _, _) => 0,
        (_, 2..=4, 0..=10 | 21..=99) => 1,
        _ => 2,
    }
}
