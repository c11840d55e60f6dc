import Aggregator
import Postgres
import SluiceConfiguration

/// Gives commands the definitions of rollups in the database.
enum RollupAccess {
    /// Calls `body` with the registry, on a thread of its own.
    static func with<Value: Sendable>(
        _ uri: String,
        _ body: @escaping @Sendable (RollupRegistry) throws -> Value
    ) async throws -> Value {
        try await blocking("rollups") {
            do {
                let connection = try PostgresConnection(uri, applicationName: "sluice-rollup")
                return try body(RollupRegistry(connection))
            } catch let error as RollupRegistryError {
                throw CommandFailure.failed("\(error)")
            }
        }
    }

    /// Adds the rollups of the configuration that the database does not have.
    ///
    /// - Returns: The names of those that were added.
    /// - Throws: When one is there with another definition.
    static func register(_ settings: Settings, _ uri: String) async throws -> [String] {
        let wishes = settings.rollups.map { RollupWish($0.definition, retain: $0.retain) }
        let retain = settings.aggregator.retain
        return try await with(uri) { try $0.register(wishes, retain: retain) }
    }
}
