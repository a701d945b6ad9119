// Made the *.bin files beside it with Kafka's own Java client, and reads ours:
//
//	mvn dependency:copy-dependencies of org.apache.kafka:kafka-clients:4.1.0 to lib/
//	java -cp 'lib/*' Golden.java write .
//	java -cp 'lib/*' Golden.java read FILE...   prints one line per record
//
// The tests read the files; with MQ_KAFKA_CLASSPATH='lib/*' set they also have
// this program read what we write.
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.HexFormat;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.*;
import org.apache.kafka.common.record.Record;

public class Golden {
    static byte[] utf8(String s) { return s.getBytes(StandardCharsets.UTF_8); }

    static SimpleRecord[] sample() {
        return new SimpleRecord[] {
            new SimpleRecord(1_700_000_000_000L, utf8("k"), utf8("v")),
            new SimpleRecord(1_699_999_999_999L, null, new byte[0], new Header[] {
                new RecordHeader("a", utf8("1")), new RecordHeader("a", (byte[]) null), new RecordHeader("", new byte[0])}),
            new SimpleRecord(1_700_000_000_500L, new byte[0], null),
            new SimpleRecord(1_700_000_001_000L, utf8("long"), utf8("abcdefgh".repeat(1000))),
        };
    }

    static String hex(byte[] b) { return b == null ? "null" : HexFormat.of().formatHex(b); }

    static byte[] bytes(ByteBuffer b) {
        if (b == null) return null;
        byte[] out = new byte[b.remaining()];
        b.duplicate().get(out);
        return out;
    }

    static void write(Path dir) throws Exception {
        Compression[] codecs = {Compression.NONE, Compression.gzip().build(), Compression.snappy().build(),
            Compression.lz4().build(), Compression.zstd().build()};
        for (Compression c : codecs) {
            MemoryRecords records = MemoryRecords.withRecords(RecordBatch.MAGIC_VALUE_V2, 0L, c,
                TimestampType.CREATE_TIME, 7L, (short) 3, 11, -1, false, sample());
            Files.write(dir.resolve(c.type().name + ".bin"), bytes(records.buffer()));
        }
    }

    static void read(Path file) throws Exception {
        MemoryRecords records = MemoryRecords.readableRecords(ByteBuffer.wrap(Files.readAllBytes(file)));
        for (MutableRecordBatch batch : records.batches()) {
            batch.ensureValid();
            for (Record r : batch) {
                StringBuilder s = new StringBuilder();
                s.append(r.offset()).append(' ').append(r.timestamp()).append(' ')
                    .append(hex(bytes(r.key()))).append(' ').append(hex(bytes(r.value())));
                for (Header h : r.headers()) s.append(' ').append(hex(utf8(h.key()))).append('=').append(hex(h.value()));
                System.out.println(s);
            }
        }
    }

    public static void main(String[] args) throws Exception {
        if (args[0].equals("write")) write(Path.of(args[1]));
        else for (int i = 1; i < args.length; i++) read(Path.of(args[i]));
    }
}
