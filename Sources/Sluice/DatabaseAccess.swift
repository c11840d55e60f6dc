import EmbeddedPostgres
import Foundation
import Logging
import SluiceConfiguration

/// Gives a command the database, starting the embedded server for its time if nobody runs it.
enum DatabaseAccess {
    /// Calls `body` with the database's connection string.
    static func with<Value: Sendable>(
        _ settings: Settings,
        _ body: (String) async throws -> Value
    ) async throws -> Value {
        switch settings.postgres {
        case .uri(let secret): return try await body(secret.reveal())
        case .embedded:
            let data = DataDirectory(settings.data)
            try data.create()
            let cluster = EmbeddedCluster(
                data.clusterConfiguration,
                logger: Logger(label: "sluice.postgres")
            )
            let uri = try await cluster.start()
            do {
                let value = try await body(uri)
                try await cluster.stop()
                return value
            } catch {
                try? await cluster.stop()
                throw error
            }
        }
    }
}
