import java.util.List;
import org.apache.spark.sql.SparkSession;

/** Runs statements of SQL, one of each argument, and writes the rows of each as a line: a list of objects in JSON. */
class SparkSql {
    public static void main(String[] statements) {
        SparkSession spark = SparkSession.builder().master("local[1]").getOrCreate();
        for (String statement : statements) {
            List<String> rows = spark.sql(statement).toJSON().collectAsList();
            System.out.println("[" + String.join(",", rows) + "]");
        }
    }
}
