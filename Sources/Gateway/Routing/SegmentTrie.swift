/// A map from paths, segment by segment, to numbers; built once, then read from every loop.
///
/// Segments are compared as bytes. One trailing slash makes no difference. Looking up allocates
/// nothing.
package struct SegmentTrie: Sendable {
    /// A place in the trie.
    private struct Node: Sendable {
        /// Literal segments, by hash of their bytes; those with equal hashes one after the other.
        var children: [UInt64: [Child]] = [:]
        /// The node for any one segment that is not empty; 0 for none.
        var anySegment = 0
        /// Numbers of entries that end here.
        var entries: [Int] = []
        /// Numbers of entries that take everything from here on, at least one segment.
        var restEntries: [Int] = []
    }

    /// A literal segment below a node.
    private struct Child: Sendable {
        var segment: [UInt8]
        var node: Int
    }

    private var nodes: [Node] = [Node()]

    /// An empty trie.
    package init() {}

    /// Adds an entry.
    ///
    /// - Parameters:
    ///   - path: what is looked up; begins with `/`.
    ///   - entry: the number to find.
    ///   - hasTemplates: whether `{name}` stands for any segment and a final `*` for the rest.
    package mutating func insert(_ path: String, entry: Int, hasTemplates: Bool) {
        var segments = path.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
        if segments.last?.isEmpty == true { segments.removeLast() }
        var node = 0
        for (index, segment) in segments.enumerated() {
            if hasTemplates, index == segments.count - 1, segment == "*" {
                nodes[node].restEntries.append(entry)
                return
            }
            if hasTemplates, segment.hasPrefix("{"), segment.hasSuffix("}") {
                if nodes[node].anySegment == 0 {
                    nodes.append(Node())
                    nodes[node].anySegment = nodes.count - 1
                }
                node = nodes[node].anySegment
            } else {
                node = literalChild(of: node, Array(segment.utf8))
            }
        }
        nodes[node].entries.append(entry)
    }

    private mutating func literalChild(of node: Int, _ segment: [UInt8]) -> Int {
        let hash = Self.hash(segment.span, 0..<segment.count)
        let known = nodes[node].children[hash, default: []]
        if let child = known.first(where: { $0.segment == segment }) { return child.node }
        nodes.append(Node())
        let made = nodes.count - 1
        nodes[node].children[hash, default: []].append(Child(segment: segment, node: made))
        return made
    }

    /// The entry whose path is the longest whole-segment prefix of a path.
    package func longestPrefix(_ path: Span<UInt8>) -> Int? {
        var node = 0
        var found = nodes[0].entries.first
        var at = 0
        while let segment = Self.nextSegment(path, &at) {
            let next = literal(below: node, path, segment)
            guard next != 0 else { break }
            node = next
            if let entry = nodes[node].entries.first { found = entry }
        }
        return found
    }

    /// The smallest number of those entries that match a whole path and are accepted.
    package func match(_ path: Span<UInt8>, _ isAccepted: (Int) -> Bool) -> Int? {
        var best: Int?
        match(path, from: 0, below: 0, &best, isAccepted)
        return best
    }

    private func match(
        _ path: Span<UInt8>,
        from start: Int,
        below node: Int,
        _ best: inout Int?,
        _ isAccepted: (Int) -> Bool
    ) {
        var at = start
        guard let segment = Self.nextSegment(path, &at) else {
            Self.take(nodes[node].entries, &best, isAccepted)
            return
        }
        Self.take(nodes[node].restEntries, &best, isAccepted)
        let next = literal(below: node, path, segment)
        if next != 0 { match(path, from: at, below: next, &best, isAccepted) }
        let any = nodes[node].anySegment
        if any != 0, !segment.isEmpty { match(path, from: at, below: any, &best, isAccepted) }
    }

    private static func take(_ entries: [Int], _ best: inout Int?, _ isAccepted: (Int) -> Bool) {
        for entry in entries where best.map({ entry < $0 }) ?? true {
            if isAccepted(entry) { best = entry }
        }
    }

    private func literal(below node: Int, _ path: Span<UInt8>, _ segment: Range<Int>) -> Int {
        guard !nodes[node].children.isEmpty,
            let candidates = nodes[node].children[Self.hash(path, segment)]
        else { return 0 }
        for child in candidates where Self.isEqual(child.segment.span, path, segment) {
            return child.node
        }
        return 0
    }

    /// The next segment; none at the end, nor for the nothing behind a trailing slash.
    @inline(__always)
    private static func nextSegment(_ path: Span<UInt8>, _ at: inout Int) -> Range<Int>? {
        guard at < path.count, path[at] == 0x2F, at + 1 < path.count else { return nil }
        let start = at + 1
        var end = start
        while end < path.count, path[end] != 0x2F { end += 1 }
        at = end
        return start..<end
    }

    @inline(__always)
    private static func hash(_ bytes: Span<UInt8>, _ range: Range<Int>) -> UInt64 {
        // FNV-1a keeps the low bits of each product: wrapping is meant.
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for index in range { hash = (hash ^ UInt64(bytes[index])) &* 0x0000_0100_0000_01B3 }
        return hash
    }

    private static func isEqual(
        _ segment: Span<UInt8>,
        _ path: Span<UInt8>,
        _ range: Range<Int>
    ) -> Bool {
        guard segment.count == range.count else { return false }
        for index in 0..<segment.count where segment[index] != path[range.lowerBound + index] {
            return false
        }
        return true
    }
}
