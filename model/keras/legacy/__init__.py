"""Models that Keras 2 saved, or Keras 3 in the way of Keras 2: read as data, and written as Keras 3 has them."""
