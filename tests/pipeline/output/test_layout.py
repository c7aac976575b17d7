"""Names below an output: readers of outputs that exist rely on every one."""

from pipeline.output.layout import DATA, Layout, rejects_name, table_name


def test_names_never_change() -> None:
    layout = Layout("gs://b/out")
    assert layout.at("latents/a.parquet") == "gs://b/out/latents/a.parquet"
    assert layout.job == "gs://b/out/_job.json"
    assert layout.lease == "gs://b/out/_hold"
    assert layout.manifest == "gs://b/out/_manifest.parquet"
    assert layout.success == "gs://b/out/_SUCCESS"
    assert layout.receipts == "gs://b/out/_receipts"
    assert layout.receipt("dt=1/a") == "gs://b/out/_receipts/dt=1/a.json"
    assert layout.model("d1") == "gs://b/out/_model/d1"
    assert layout.plans == "gs://b/out/_plan"
    assert layout.plan("run") == "gs://b/out/_plan/run"
    assert layout.obsolete("run") == "gs://b/out/_plan/run/obsolete.json"
    assert layout.summary("run") == "gs://b/out/_plan/run/summary.json"
    assert table_name("latents", "dt=1/a") == "latents/dt=1/a.parquet"
    assert rejects_name("dt=1/a") == "rejects/dt=1/a.parquet"
    assert table_name("latents", "_x/a_b/.c") == "latents/%5Fx/a_b/%2Ec.parquet"  # else no reader of datasets sees it
    assert DATA == ("latents", "metrics", "images", "error_maps", "rejects")
