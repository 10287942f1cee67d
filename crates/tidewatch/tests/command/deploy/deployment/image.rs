//! What an image is made by, and started as.

/// Instructions in order, each with what follows it.
#[derive(Debug)]
pub(crate) struct Image(Vec<(String, String)>);

/// All instructions that there are, but those that nobody should use any more.
const INSTRUCTIONS: [&str; 15] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "RUN",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

impl Image {
    pub(crate) fn read(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let instructions = lines.map(|line| {
            let (instruction, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(INSTRUCTIONS.contains(&instruction), "{line}");
            (instruction.to_owned(), rest.to_owned())
        });
        Self(instructions.collect())
    }

    /// Its stages, each beginning with the image that it is made from.
    pub(crate) fn stages(&self) -> Vec<&[(String, String)]> {
        let begins = |(at, (instruction, _)): (usize, &(String, String))| {
            (instruction == "FROM").then_some(at)
        };
        let mut begins: Vec<_> = self.0.iter().enumerate().filter_map(begins).collect();
        begins.push(self.0.len());
        begins.windows(2).map(|part| &self.0[part[0]..part[1]]).collect()
    }

    /// What the last stage says with `instruction`, once.
    pub(crate) fn last(&self, instruction: &str) -> &str {
        let stages = self.stages();
        let all: Vec<_> =
            stages.last().unwrap().iter().filter(|(is, _)| is == instruction).collect();
        assert_eq!(all.len(), 1, "{instruction}");
        &all[0].1
    }

    /// The same as words: no shell is between.
    pub(crate) fn words(&self, instruction: &str) -> Vec<String> {
        words(self.last(instruction))
    }

    /// What a container runs with `arguments` in place of its own.
    pub(crate) fn runs(&self, arguments: Option<&[String]>) -> Vec<String> {
        let own = self.words("CMD");
        let entry = self.words("ENTRYPOINT");
        assert_eq!(entry, [env!("CARGO_PKG_NAME")], "it is the command that a container runs");
        arguments.unwrap_or(&own).to_vec()
    }

    /// What says whether a container is healthy.
    pub(crate) fn health(&self) -> Vec<String> {
        let (options, check) = self.last("HEALTHCHECK").split_once(" CMD ").unwrap();
        assert!(options.split(' ').all(|option| option.starts_with("--")), "{options}");
        words(check)
    }
}

fn words(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}
