"""What the operator and the maps say, as checked values. Nothing here touches S3."""
