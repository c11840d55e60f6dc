/// Finds what a misspelt word was meant to be.
enum Suggestion {
    /// `; did you mean "…"?` if one of `words` is near, else the list of them if it is short.
    static func text(for word: String, among words: [String]) -> String {
        if let near = nearest(to: word, among: words) { return "; did you mean \"\(near)\"?" }
        guard !words.isEmpty, words.count <= 14 else { return "" }
        return "; known here: \(words.joined(separator: ", "))"
    }

    /// The nearest word within a third of its length in edits.
    static func nearest(to word: String, among words: [String]) -> String? {
        let near = words.map { (word: $0, distance: distance(word, $0)) }
            .min { ($0.distance, $0.word) < ($1.distance, $1.word) }
        guard let near, near.distance <= max(1, near.word.count / 3) else { return nil }
        return near.word
    }

    /// Edits between two words, capitals ignored, a swap of neighbours counting once.
    static func distance(_ left: String, _ right: String) -> Int {
        let left = Array(left.lowercased().utf8.prefix(64))
        let right = Array(right.lowercased().utf8.prefix(64))
        var before = [Int](repeating: 0, count: right.count + 1)
        var row = Array(0...right.count)
        for (i, a) in left.enumerated() {
            var next = [i + 1] + [Int](repeating: 0, count: right.count)
            for (j, b) in right.enumerated() {
                next[j + 1] = min(row[j] + (a == b ? 0 : 1), row[j + 1] + 1, next[j] + 1)
                if i > 0, j > 0, a == right[j - 1], left[i - 1] == b {
                    next[j + 1] = min(next[j + 1], before[j - 1] + 1)
                }
            }
            before = row
            row = next
        }
        return row[right.count]
    }
}
