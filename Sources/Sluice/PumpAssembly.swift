import Console
import EventLog
import ServiceLifecycle
import SluiceConfiguration

extension ServerProcess {
    /// The pump over all configured sinks.
    func pumpService(_ logs: LogDirectory, _ announcer: Announcer) throws -> any Service {
        throw CommandFailure.failed("the pump is not part of this build yet")
    }
}

extension StatusReport {
    /// How far the aggregators are behind in the topic.
    static func kafka(_ settings: Settings, _ database: DatabaseAnswer) async -> Table {
        var table = Table(["topic", "group", "state", "partitions", "lag"])
        table.rows = [
            [.text(settings.kafka.topic), .text(settings.kafka.group), .none, .none, .none]
        ]
        return table
    }
}
