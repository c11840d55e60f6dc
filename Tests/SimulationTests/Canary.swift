import FileIO
import FileIOTesting

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

    /// A seed that leads to it soon.
    var seed: UInt64 { 1 }

    /// The files of a node, with the bug if it lives there.
    func plant(in files: MemoryFileSystem) -> any FileSystem {
        guard self == .lyingSync else { return files }
        var watch = WatchedFileSystem.Watch()
        // A segment is made, and opened, under the name of the next one.
        watch.sync = { path in !path.hasSuffix(".log") && !path.hasSuffix("/next.tmp") }
        return WatchedFileSystem(files, watch)
    }

    /// What plants it in the database; nil when it lives elsewhere.
    var sql: String? {
        switch self {
        case .noGuard:
            Self.trigger(
                "BEFORE UPDATE ON sluice.source",
                "IF \(Self.isTurn(of: 5)) THEN NEW.folded := OLD.folded; END IF; RETURN NEW;"
            )
        case .doubleCount:
            Self.trigger(
                "BEFORE INSERT ON sluice_g1.api_delta",
                """
                IF \(Self.isTurn(of: 40)) THEN NEW.requests := NEW.requests * 2; END IF;
                RETURN NEW;
                """
            )
        case .shortLedger:
            Self.trigger(
                "BEFORE INSERT ON sluice.ledger",
                """
                IF NEW.folded > 1 AND \(Self.isTurn(of: 8)) THEN
                    NEW.folded := NEW.folded - 1;
                END IF;
                RETURN NEW;
                """
            )
        case .orderMatters:
            Self.trigger(
                "BEFORE INSERT ON sluice_g1.api_delta",
                """
                NEW.bytes_out := NEW.bytes_out + nextval('sluice.canary_turn') % 2;
                RETURN NEW;
                """
            )
        case .lostLetters:
            Self.trigger(
                "BEFORE INSERT ON sluice.dead_letter",
                "IF \(Self.isTurn(of: 2)) THEN RETURN NULL; END IF; RETURN NEW;"
            )
        default: nil
        }
    }

    /// Whether it is time to misbehave: once in so many calls, so that a seed decides when.
    private static func isTurn(of count: Int) -> String {
        "nextval('sluice.canary_turn') % \(count) = 0"
    }

    private static func trigger(_ event: String, _ body: String) -> String {
        """
        CREATE SEQUENCE sluice.canary_turn;
        CREATE FUNCTION sluice.canary() RETURNS trigger LANGUAGE plpgsql AS
        $canary$ BEGIN \(body) END $canary$;
        CREATE TRIGGER canary \(event) FOR EACH ROW EXECUTE FUNCTION sluice.canary();
        """
    }
}
