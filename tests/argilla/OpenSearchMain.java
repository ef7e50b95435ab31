import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;

import org.opensearch.common.settings.Setting;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.painless.PainlessPlugin;
import org.opensearch.plugins.Plugin;
import org.opensearch.transport.Netty4Plugin;

/** One OpenSearch node on 127.0.0.1 with what Argilla uses and nothing else. Arguments: HTTP port, folder. */
public final class OpenSearchMain {

    /** Argilla sends index.knn=false with every index; without the k-NN plugin that setting would be unknown and refused. */
    public static class KnnSettingPlugin extends Plugin {
        @Override
        public List<Setting<?>> getSettings() {
            return List.of(Setting.boolSetting("index.knn", false, Setting.Property.IndexScope));
        }
    }

    /** The constructor that takes plugins as classes is open to subclasses only. */
    private static final class LocalNode extends Node {
        LocalNode(Environment environment) {
            super(environment, List.of(Netty4Plugin.class, PainlessPlugin.class, KnnSettingPlugin.class), true);
        }
    }

    public static void main(String[] args) throws Exception {
        System.setProperty("opensearch.set.netty.runtime.available.processors", "false");
        Path home = Path.of(args[1]).toAbsolutePath();
        Path config = Files.createDirectories(home.resolve("config"));
        Settings settings = Settings.builder()
            .put("cluster.name", "curation-test")
            .put("path.home", home.toString())
            .put("network.host", "127.0.0.1")
            .put("http.port", args[0])
            .put("transport.port", "0")
            .put("discovery.type", "single-node")
            // a nearly full disk would make every index read-only
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .build();
        Node node = new LocalNode(
            InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), config, () -> "test"));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.close();
            } catch (Exception e) {
                e.printStackTrace();
            }
        }));
        node.start();
        Thread.currentThread().join();
    }
}
