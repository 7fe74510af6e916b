def test_disk_size(efficiency):
    efficiency("disk_size")
