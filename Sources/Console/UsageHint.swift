/// Finds words of a command line that its usage line does not know.
///
/// The argument parser names only the first mistake, a missing argument before an unknown one; the
/// reader should see both.
package enum UsageHint {
    /// One sentence per unknown word, each on a line; empty if there is none or nothing is known.
    ///
    /// - Parameters:
    ///   - arguments: The words after the program's name.
    ///   - usage: The usage line, as `sluice log ls <dir> [--format <format>]`.
    package static func text(_ arguments: [String], usage: String) -> String {
        let words = usage.split(separator: " ").map(String.init)
        let path = words.prefix { !$0.hasPrefix("<") && !$0.hasPrefix("[") && !$0.hasPrefix("-") }
        guard path.count > 1, !words.contains("<options>"), !words.contains("<subcommand>") else {
            return ""
        }
        let options = known(words)
        let optionValues = options.values.filter { $0 }.count
        let allowsPositional = words.count { isPlaceholder($0) } > optionValues

        var lines: [String] = []
        var rest = arguments.dropFirst(path.count - 1)
        while let word = rest.popFirst(), word != "--" {
            if word.hasPrefix("--") {
                let parts = word.split(separator: "=", maxSplits: 1)
                let name = String(parts.first ?? "")
                if let takesValue = options[name] {
                    if takesValue, parts.count == 1 { _ = rest.popFirst() }
                } else if name != "--help" {
                    lines.append("There is no option \(name) here.\n")
                }
            } else if !word.hasPrefix("-"), !allowsPositional {
                lines.append("Nothing is expected where \"\(word)\" stands.\n")
            }
        }
        return lines.joined()
    }

    /// The options of a usage line, and whether each takes a value.
    private static func known(_ words: [String]) -> [String: Bool] {
        var options: [String: Bool] = [:]
        for (index, word) in words.enumerated() {
            let name = word.filter { !"[]".contains($0) }
            guard name.hasPrefix("--") else { continue }
            let isLast = word.hasSuffix("]") || index + 1 == words.count
            options[name] = !isLast && isPlaceholder(words[index + 1])
        }
        return options
    }

    /// Whether a word of a usage line stands for a value, as `<dir>` or `[<id>]`.
    private static func isPlaceholder(_ word: String) -> Bool {
        word.hasPrefix("<") || word.hasPrefix("[<")
    }
}
