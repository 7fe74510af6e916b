"""What a regime costs against the baseline: time, memory and size, on the kernels that its library's users get."""
