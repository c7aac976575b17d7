"""TFRecord of tf.train.Example, one record per Example."""
