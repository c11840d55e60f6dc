/// How things are drawn: in which characters, and whether in colour.
package struct Drawing: Equatable, Sendable {
    /// A manner of showing text.
    package enum Style: String, Sendable {
        /// Stands out.
        case bold = "1"
        /// Steps back.
        case dim = "2"
        /// Dark on light, for headings.
        case reversed = "7"
        /// Something is wrong.
        case red = "31"
        /// Something may become wrong.
        case yellow = "33"
        /// A graph.
        case cyan = "36"
    }

    /// Whether more than ASCII can be shown.
    package var isUnicode: Bool

    /// Whether styles are wanted.
    package var hasColour: Bool

    /// A manner of drawing.
    package init(isUnicode: Bool, hasColour: Bool) {
        self.isUnicode = isUnicode
        self.hasColour = hasColour
    }

    /// Whether the locale in an environment shows Unicode: the first of `LC_ALL`, `LC_CTYPE` and
    /// `LANG` that says anything names UTF-8 (POSIX, "Environment Variables").
    package static func showsUnicode(_ environment: [String: String]) -> Bool {
        let value = ["LC_ALL", "LC_CTYPE", "LANG"].lazy.compactMap { environment[$0] }
            .first { !$0.isEmpty }
        let name = (value ?? "").uppercased()
        return name.hasSuffix("UTF-8") || name.hasSuffix("UTF8") || name.contains("UTF-8@")
    }

    /// `text` in a style.
    package func styled(_ text: String, _ style: Style?) -> String {
        guard hasColour, let style, !text.isEmpty else { return text }
        return "\u{1B}[\(style.rawValue)m\(text)\u{1B}[0m"
    }

    /// Our own signs as what can be shown; other text stays.
    package func shown(_ text: String) -> String {
        guard !isUnicode, !text.utf8.allSatisfy({ $0 < 0x80 }) else { return text }
        return text.map { Self.ascii[$0] ?? String($0) }.joined()
    }

    /// A bar that fills `share` of `width` characters, with eighths where Unicode has them; what is
    /// more than nothing can be seen.
    package func bar(_ share: Double, width: Int) -> String {
        guard share > 0, width > 0 else { return "" }
        let share = min(share, 1)
        if isUnicode {
            let eighths = max(1, Int((share * Double(width) * 8).rounded()))
            let rest = eighths % 8
            return String(repeating: "█", count: eighths / 8)
                + (rest > 0 ? String(Self.eighths[rest - 1]) : "")
        }
        return String(repeating: "#", count: max(1, Int((share * Double(width)).rounded())))
    }

    /// One character for each value, its height from zero to the largest; a blank for nil.
    package func sparkline(_ values: [Double?]) -> String {
        let largest = values.compactMap(\.self).filter(\.isFinite).max() ?? 0
        let levels = isUnicode ? Self.unicodeLevels : Self.asciiLevels
        return String(
            values.map { value -> Character in
                guard let value, value.isFinite else { return " " }
                guard value > 0, largest > 0 else { return levels[0] }
                let steps = Double(levels.count - 1)
                return levels[
                    min(levels.count - 1, max(1, Int((value / largest * steps).rounded())))
                ]
            }
        )
    }

    /// As many values as fit into `width`, each the largest of its neighbours.
    package static func condensed(_ values: [Double?], _ width: Int) -> [Double?] {
        guard width > 0, values.count > width else { return width > 0 ? values : [] }
        return (0..<width).map { place in
            let part = values[place * values.count / width..<(place + 1) * values.count / width]
            return part.compactMap(\.self).max()
        }
    }

    private static let eighths: [Character] = ["▏", "▎", "▍", "▌", "▋", "▊", "▉"]
    private static let unicodeLevels: [Character] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"]
    private static let asciiLevels: [Character] = ["_", ".", ":", "-", "=", "+", "*", "#"]
    private static let ascii: [Character: String] = [
        "–": "-", "µ": "u", "…": "...", "·": "|", "×": "x", "→": "->", "↑": "up", "↓": "down",
    ]
}

/// How much room text takes on a terminal.
package enum TextWidth {
    /// Columns of `text`: two for East Asian wide characters and pictures, one for others.
    package static func columns(_ text: String) -> Int {
        text.utf8.allSatisfy { $0 < 0x80 } ? text.utf8.count : text.reduce(0) { $0 + columns($1) }
    }

    /// `text` in exactly `width` columns: filled up with blanks, or cut with a sign of it.
    package static func fitted(
        _ text: String,
        _ width: Int,
        isNumber: Bool = false,
        _ drawing: Drawing
    ) -> String {
        let used = columns(text)
        if used <= width {
            let padding = String(repeating: " ", count: width - used)
            return isNumber ? padding + text : text + padding
        }
        guard width > 0 else { return "" }
        let kept = cut(text, width - 1)
        let sign = drawing.isUnicode ? "…" : "~"
        return kept + sign + String(repeating: " ", count: max(0, width - 1 - columns(kept)))
    }

    /// The beginning of `text` that fits into `width` columns.
    package static func cut(_ text: String, _ width: Int) -> String {
        var kept = ""
        var used = 0
        for character in text {
            used += columns(character)
            if used > width { break }
            kept.append(character)
        }
        return kept
    }

    private static func columns(_ character: Character) -> Int {
        guard let scalar = character.unicodeScalars.first else { return 0 }
        return wide.contains { $0.contains(scalar.value) } ? 2 : 1
    }

    /// Unicode Standard Annex 11, the blocks that are wide as a whole.
    private static let wide: [ClosedRange<UInt32>] = [
        0x1100...0x115F, 0x2E80...0x303E, 0x3041...0xA4CF, 0xA960...0xA97F, 0xAC00...0xD7A3,
        0xF900...0xFAFF, 0xFE30...0xFE6F, 0xFF00...0xFF60, 0xFFE0...0xFFE6, 0x1F300...0x1F64F,
        0x1F680...0x1F6FF, 0x1F900...0x1F9FF, 0x20000...0x3FFFD,
    ]
}
