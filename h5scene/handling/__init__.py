"""What one does with whole files and scenes, without PhiFlow.

* `summaries`: what stands in a file, read as quickly as it can be listed
* `comparing`: what differs between two files, scenes, fields or frames
* `copying`: scenes into other files, one file for each scene
* `merging`: scenes of many files into one, by `merge_inputs`, `merge_names`, `scene_copies` and
  `verifying`
* `repacking`: a file written anew, without gaps
* `hdf5_trees`: the HDF5 objects below a group, copied, and compared bit by bit
* `addresses`: how a file, or something in it, is named, such as `runs.h5/sim_000000/smoke/5`
"""
