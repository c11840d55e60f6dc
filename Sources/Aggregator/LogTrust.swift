import Postgres
import Records

/// Which organisations a log may bill, as far as that is known.
///
/// Whoever may write to a transport could claim another's log or organisation. A log is bound to
/// the organisations that its first record declares, or, when that declares none, to that of the
/// first request seen. Before the first record has been seen nothing is known: its log may have
/// come through another partition first.
struct LogTrust: Sendable {
    /// What is known. Permitted transitions:
    private enum Binding: Sendable {
        /// Nothing is checked, for transports that only we write to. Final.
        case unlimited
        /// The first record has not been seen. → `firstSight`, `bound`.
        case open
        /// The first record declared nothing. → `bound`.
        case firstSight
        /// Nothing but these. Final.
        case bound([[UInt8]])
    }

    private var binding: Binding
    /// The organisation that the log has just been bound to at first sight.
    private var firstOrg: String?
    /// The offsets of the records refused, ascending, since they were last taken.
    private(set) var refused: [UInt64] = []

    /// Trust without limit.
    static let unlimited = LogTrust(binding: .unlimited)

    private init(binding: Binding) { self.binding = binding }

    /// What the database knows of a log: null, none, or some organisations.
    init(stored orgs: [String]?) {
        binding = .open
        if let orgs { declare(orgs) }
    }

    /// Whether the log's first record has not been seen.
    var isOpen: Bool {
        if case .open = binding { return true }
        return false
    }

    /// Most organisations that a first record may declare; chosen.
    private static let orgsMax = 10_000

    /// The organisations that a log's first record declares: in tags, or in its own field.
    static func declaredOrgs(_ view: RecordView, _ bytes: RawSpan) -> [String] {
        var orgs: [String] = []
        view.forEachTag(in: bytes) { key, value in
            guard orgs.count < orgsMax, key.count == RecordView.orgsTag.utf8.count,
                view.text(key, in: bytes) == RecordView.orgsTag
            else { return }
            orgs.append(storable(bytes.octets.extracting(value.range)))
        }
        if !view.org.isEmpty { orgs.append(storable(bytes.octets.extracting(view.org.range))) }
        return orgs
    }

    /// The text as PostgreSQL stores it, so that it compares equal when it comes back.
    private static func storable(_ bytes: Span<UInt8>) -> String {
        TextRepair.isStorable(bytes)
            ? bytes.text() : String(decoding: TextRepair.repaired(bytes), as: UTF8.self)
    }

    /// Takes over what the log's first record declares.
    mutating func declare(_ orgs: [String]) {
        if case .unlimited = binding { return }
        binding = orgs.isEmpty ? .firstSight : .bound(orgs.map { Array($0.utf8) })
    }

    /// Whether a request of an organisation counts; a refusal is remembered.
    @inline(__always)
    mutating func admits(_ org: Span<UInt8>, at offset: Offset) -> Bool {
        // What belongs to nobody is billed to nobody.
        if case .unlimited = binding { return true }
        if org.isEmpty { return true }
        return check(org, at: offset)
    }

    private mutating func check(_ org: Span<UInt8>, at offset: Offset) -> Bool {
        switch binding {
        case .unlimited: return true
        case .open:
            // A log whose very first record is a request declares nothing.
            if offset == .zero { bind(org) }
            return true
        case .firstSight:
            bind(org)
            return true
        case .bound(let orgs):
            if orgs.contains(where: { Self.areEqual($0.span, org) }) { return true }
            if !TextRepair.isStorable(org) {
                let repaired = TextRepair.repaired(org)
                if orgs.contains(repaired) { return true }
            }
            refused.append(offset.rawValue)
            return false
        }
    }

    private mutating func bind(_ org: Span<UInt8>) {
        let text = Self.storable(org)
        binding = .bound([Array(text.utf8)])
        firstOrg = text
    }

    private static func areEqual(_ left: Span<UInt8>, _ right: Span<UInt8>) -> Bool {
        guard left.count == right.count else { return false }
        for index in left.indices where left[index] != right[index] { return false }
        return true
    }

    /// The organisation that the log has been bound to at first sight, once.
    mutating func takeFirstOrg() -> String? { firstOrg.take() }

    /// Forgets what was refused.
    mutating func forgetRefused() { refused.removeAll(keepingCapacity: true) }
}
