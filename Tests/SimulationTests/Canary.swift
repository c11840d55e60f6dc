import FileIO

/// A bug that is planted on purpose: the checker has to find it.
enum Canary: String, CaseIterable, Sendable {
    /// Syncs of segments are acknowledged and not made.
    case lyingSync
    /// Log ids come from a generator that starts the same way every time.
    case sameIdentities
    /// The guarded update forgets now and then what it was told.
    case noGuard
    /// A delta row is written twice.
    case doubleCount
    /// The broker acknowledges messages that it loses.
    case lostMessages
    /// The ledger counts one record too few.
    case shortLedger
    /// What is added to a row depends on which row was written before.
    case orderMatters
    /// Retention asks nobody.
    case greedyRetention
    /// A checkpoint is stored before the sink has acknowledged.
    case earlyCheckpoint
    /// The pump has more under way than it may.
    case unbounded
    /// Dead letters are counted and thrown away.
    case lostLetters

    /// The invariants that it breaks.
    var invariants: Set<Int> {
        switch self {
        case .lyingSync: [1]
        case .sameIdentities: [2]
        // A batch of markers only changes nothing but the ledger.
        case .noGuard: [3, 4]
        case .doubleCount: [3]
        case .lostMessages, .shortLedger: [4]
        case .orderMatters: [5]
        case .greedyRetention: [6]
        case .earlyCheckpoint: [7]
        case .unbounded: [8]
        case .lostLetters: [9]
        }
    }

    /// What plants it in the database; nil when it lives elsewhere.
    var sql: String? {
        switch self {
        case .noGuard:
            Self.trigger(
                "BEFORE UPDATE ON sluice.source",
                "IF random() < 0.2 THEN NEW.folded := OLD.folded; END IF; RETURN NEW;"
            )
        case .doubleCount:
            Self.trigger(
                "BEFORE INSERT ON sluice_g1.api_delta",
                """
                IF random() < 0.02 THEN NEW.requests := NEW.requests * 2; END IF;
                RETURN NEW;
                """
            )
        case .shortLedger:
            Self.trigger(
                "BEFORE INSERT ON sluice.ledger",
                """
                IF NEW.folded > 1 AND random() < 0.1 THEN NEW.folded := NEW.folded - 1; END IF;
                RETURN NEW;
                """
            )
        case .orderMatters:
            "CREATE SEQUENCE sluice.canary_order;"
                + Self.trigger(
                    "BEFORE INSERT ON sluice_g1.api_delta",
                    """
                    NEW.bytes_out := NEW.bytes_out + nextval('sluice.canary_order') % 2;
                    RETURN NEW;
                    """
                )
        case .lostLetters:
            Self.trigger(
                "BEFORE INSERT ON sluice.dead_letter",
                "IF random() < 0.5 THEN RETURN NULL; END IF; RETURN NEW;"
            )
        default: nil
        }
    }

    private static func trigger(_ event: String, _ body: String) -> String {
        """
        CREATE FUNCTION sluice.canary() RETURNS trigger LANGUAGE plpgsql AS
        $canary$ BEGIN \(body) END $canary$;
        CREATE TRIGGER canary \(event) FOR EACH ROW EXECUTE FUNCTION sluice.canary();
        """
    }
}

/// Acknowledges syncs of segments without making them.
final class LyingFileSystem: FileSystem {
    private let base: any FileSystem

    init(_ base: any FileSystem) { self.base = base }

    func open(_ path: String, _ mode: OpenMode) throws(FileIOError) -> any File {
        let file = try base.open(path, mode)
        return path.hasSuffix(".log") ? LyingFile(file) : file
    }

    func list(_ directory: String) throws(FileIOError) -> [String] { try base.list(directory) }

    func createDirectory(_ path: String) throws(FileIOError) { try base.createDirectory(path) }

    func rename(_ source: String, to target: String, replacing: Bool) throws(FileIOError) {
        try base.rename(source, to: target, replacing: replacing)
    }

    func removeFile(_ path: String) throws(FileIOError) { try base.removeFile(path) }

    func removeDirectory(_ path: String) throws(FileIOError) { try base.removeDirectory(path) }

    func syncDirectory(_ path: String) throws(FileIOError) { try base.syncDirectory(path) }

    func status(_ path: String) throws(FileIOError) -> FileStatus? { try base.status(path) }

    func freeSpace(_ path: String) throws(FileIOError) -> UInt64 { try base.freeSpace(path) }

    func mapWords(
        _ path: String,
        byteCount: Int,
        writable: Bool
    ) throws(FileIOError) -> any SharedWords {
        try base.mapWords(path, byteCount: byteCount, writable: writable)
    }
}

/// An open file of a `LyingFileSystem`.
private final class LyingFile: File {
    private let base: any File

    init(_ base: any File) { self.base = base }

    var path: String { base.path }

    func read(at position: UInt64, count: Int) throws(FileIOError) -> [UInt8] {
        try base.read(at: position, count: count)
    }

    func write(_ bytes: Span<UInt8>, at position: UInt64) throws(FileIOError) {
        try base.write(bytes, at: position)
    }

    func sync() throws(FileIOError) {}

    func allocate(from position: UInt64, count: UInt64) throws(FileIOError) {
        try base.allocate(from: position, count: count)
    }

    func truncate(to size: UInt64) throws(FileIOError) { try base.truncate(to: size) }

    func size() throws(FileIOError) -> UInt64 { try base.size() }

    func tryLock() throws(FileIOError) -> Bool { try base.tryLock() }

    func close() { base.close() }
}
